package main

import "slices"

// Exit codes.
const (
	exitOK          = 0
	exitError       = 1
	exitChanges     = 2 // plan --detailed-exitcode
	exitUnhealthy   = 3
	exitRolledBack  = 4
	exitLocked      = 5
	exitInterrupted = 130
)

// gravest picks the exit code where several fit.
func gravest(codes ...int) int {
	for _, c := range []int{exitRolledBack, exitInterrupted, exitLocked, exitError, exitUnhealthy, exitChanges} {
		if slices.Contains(codes, c) {
			return c
		}
	}
	return exitOK
}

// exit ends a command with a code, everything having been said already.
type exit int

func (e exit) Error() string { return "exit" }

// exitWith is the error for a code, nil for success.
func exitWith(code int) error {
	if code == exitOK {
		return nil
	}
	return exit(code)
}
