package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

var errInterrupted = errors.New("interrupted")

// endings are the signals that end a run, without those that whoever started it
// wants ignored (nohup).
func endings() []os.Signal {
	var out []os.Signal
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			out = append(out, s)
		}
	}
	return out
}

// farewell is what a command wants said to somebody who interrupts it. The zero
// farewell says nothing.
type farewell struct {
	mu            sync.Mutex
	first, second func()
}

// set changes what is said at the first signal and at the second; nil: nothing.
func (f *farewell) set(first, second func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first, f.second = first, second
}

// say waits a second at most: the terminal may be gone, or stopped.
func (f *farewell) say(second bool) {
	f.mu.Lock()
	words := f.first
	if second {
		words = f.second
	}
	f.mu.Unlock()
	if words == nil {
		return
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		words()
	}()
	select {
	case <-said:
	case <-time.After(time.Second):
	}
}

// obey ends the run's context at the first signal and the program at the second.
// A hang-up is never the second: a terminal that closes sends several.
func obey(signals <-chan os.Signal, f *farewell, cancel context.CancelCauseFunc, exit func(code int)) {
	<-signals
	cancel(errInterrupted)
	f.say(false)
	for s := range signals {
		if s != syscall.SIGHUP {
			f.say(true)
			exit(exitInterrupted)
			return
		}
	}
}

// outlive lets the run go on when nobody reads what it prints: a pipe that breaks
// must not end it in the middle of a change.
func outlive() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
