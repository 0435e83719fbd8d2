package drill

import (
	"strconv"
	"strings"
	"time"
)

// Clock is how far another machine's clock is ahead of ours, give or take Within.
// The zero Clock has never been compared.
type Clock struct {
	Ahead  time.Duration
	Within time.Duration
	Known  bool
}

// Compared takes one more comparison into account: it was asked at asked, said its
// time, and the answer was there at heard. The one with the shortest way counts.
func (c Clock) Compared(asked, said, heard time.Time) Clock {
	within := heard.Sub(asked) / 2
	if c.Known && within >= c.Within {
		return c
	}
	return Clock{said.Sub(asked.Add(within)), within, true}
}

// Ours is a time of the other machine by our clock.
func (c Clock) Ours(t time.Time) time.Time { return t.Add(-c.Ahead) }

// clockLine reads "clock NANOSECONDS".
func clockLine(line string) (time.Time, bool) {
	text, ok := strings.CutPrefix(line, "clock ")
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return time.Time{}, false
	}
	return time.Unix(0, n), true
}
