package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// machine is what bounds how much can be done at once.
type machine struct {
	cores  int
	memory int64 // bytes that are free; 0: not known
	files  int   // file descriptors that may be open
}

// What a pair under way takes, generously: two connections while they log in, and
// the ones that are opened to confirm a change or to hold a lock.
const (
	filesOfPair  = 16
	filesOfRun   = 64
	memoryOfPair = 4 << 20
	pairsPerCore = 32 // a pair is mostly waited for
	mostPairs    = 256
)

// parallel is how many pairs it can work on at once.
func (m machine) parallel() int {
	n := min(pairsPerCore*m.cores, mostPairs, (m.files-filesOfRun)/filesOfPair)
	if m.memory > 0 {
		n = min(n, int(m.memory/2/memoryOfPair))
	}
	return max(n, 1)
}

// away is how many pairs more may wait for nodes that do not answer.
func (m machine) away(parallel int) int {
	return max(0, min(1024, (m.files-filesOfRun)/filesOfPair-parallel))
}

// thisMachine is the one that fwprov runs on. The runtime has raised the limit of
// open files as far as it may.
func thisMachine() machine {
	m := machine{cores: runtime.GOMAXPROCS(0), files: 1024}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		m.files = int(min(limit.Cur, 1<<20))
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kilobytes); err == nil {
			m.memory = kilobytes << 10
		}
	}
	return m
}

// place is a pair's among those that are worked on. A pair gives it up while it
// waits for a node that does not answer, so that such nodes are waited for side by
// side, however many there are.
type place struct {
	fleet *fleet

	mu    sync.Mutex
	state placeState
}

type placeState int

const (
	held    placeState = iota // its place is among fleet.places
	kept                      // the same, and is not given up any more
	givenUp                   // its place is among fleet.away
	left
)

// patience is how long a pair keeps its place while a node does not answer.
const patience = 500 * time.Millisecond

// waiting does what waits for a node, and gives the place up if that takes long.
func (p *place) waiting(connect func() (net.Conn, error)) (net.Conn, error) {
	t := time.AfterFunc(patience, p.giveUp)
	defer t.Stop()
	return connect()
}

func (p *place) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != held {
		return
	}
	select {
	case p.fleet.away <- struct{}{}:
		p.state = givenUp
		<-p.fleet.places
	default: // as many as this machine can take
	}
}

// keep takes the place back if it was given up, for work that nothing may be begun
// beside. It reports false if ctx ends before there is one.
func (p *place) keep(ctx context.Context) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == givenUp {
		select {
		case p.fleet.places <- struct{}{}:
			<-p.fleet.away
		case <-ctx.Done():
			return false
		}
	}
	p.state = kept
	return true
}

// leave ends the pair's work.
func (p *place) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case held, kept:
		<-p.fleet.places
	case givenUp:
		<-p.fleet.away
	}
	p.state = left
}
