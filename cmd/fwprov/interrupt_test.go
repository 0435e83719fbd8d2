package main

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestObey(t *testing.T) {
	for _, tc := range []struct {
		signals []os.Signal
		want    string
	}{
		{[]os.Signal{os.Interrupt}, "ended first"},
		{[]os.Signal{os.Interrupt, os.Interrupt}, "ended first second exit"},
		{[]os.Signal{syscall.SIGHUP, syscall.SIGHUP, syscall.SIGHUP}, "ended first"},
		{[]os.Signal{syscall.SIGTERM, syscall.SIGHUP}, "ended first"},
		{[]os.Signal{syscall.SIGHUP, syscall.SIGTERM}, "ended first second exit"},
		{[]os.Signal{syscall.SIGTERM, syscall.SIGHUP, os.Interrupt, os.Interrupt}, "ended first second exit"},
	} {
		var did []string
		note := func(s string) func() { return func() { did = append(did, s) } }
		var f farewell
		f.set(note("first"), note("second"))
		signals := make(chan os.Signal, len(tc.signals))
		for _, s := range tc.signals {
			signals <- s
		}
		close(signals)
		obey(signals, &f, func(cause error) {
			if cause != errInterrupted {
				t.Errorf("cause %v", cause)
			}
			note("ended")()
		}, func(code int) {
			if code != exitInterrupted {
				t.Errorf("exit code %d", code)
			}
			note("exit")()
		})
		if got := strings.Join(did, " "); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.signals, got, tc.want)
		}
	}
}

// TestFarewellDoesNotHang: a terminal that takes nothing does not keep the program.
func TestFarewellDoesNotHang(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var f farewell
	f.set(nil, func() { <-ctx.Done() })
	f.say(false)
	f.say(true)
}
