// Package drill measures what a client notices of a failover. Probes record
// samples: what was sent when, and when the answer came. Everything that is said of
// them is computed afterwards by pure functions, and shown by others: as text and
// JSON by the command, as a page by HTML.
//
// All times are of the machine that fwprov runs on. What others have seen is moved
// to its clock first, see Clock.
package drill

import (
	"encoding/json"
	"math"
	"time"
)

// Seconds is a time that is written to JSON as seconds, with milliseconds.
type Seconds time.Duration

// MarshalJSON never fails.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(math.Round(time.Duration(s).Seconds()*1000) / 1000)
}

// Span is a stretch of time.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Length is how long it lasts.
func (s Span) Length() time.Duration { return s.To.Sub(s.From) }

// Report is what a drill has found. Fields are only ever added.
type Report struct {
	Cluster   string     `json:"cluster"`
	Time      time.Time  `json:"time"` // it began
	Operator  string     `json:"operator"`
	State     string     `json:"state"` // of the pair afterwards: healthy, degraded, down, or unknown
	Problems  []Problem  `json:"problems"`
	Exercises []Exercise `json:"exercises"`
	Notes     []string   `json:"notes"` // what could not be probed, and why
}

// Problem is a check that failed afterwards.
type Problem struct {
	Check  string `json:"check"`
	Node   string `json:"node,omitempty"`
	Detail string `json:"detail"`
}

// Exercise is one failover of a drill.
type Exercise struct {
	Way    string    `json:"way"`
	Node   string    `json:"node"` // that was taken down
	Peer   string    `json:"peer"` // that had to take over
	Begin  time.Time `json:"begin"`
	Down   time.Time `json:"down"` // it was told to go down
	Back   time.Time `json:"back"` // it was told to come back
	End    time.Time `json:"end"`
	Floor  Seconds   `json:"floor_seconds"`    // nobody can hold the VIPs for less, by the timers
	Most   Seconds   `json:"election_seconds"` // nor should for longer
	Took   bool      `json:"took_over"`        // the peer had all VIPs before the node came back
	Error  string    `json:"error,omitempty"`  // why it was cut short
	Held   []Held    `json:"held"`
	None   Gap       `json:"no_holder"`   // the longest time in which nobody held some VIP
	Two    Gap       `json:"two_holders"` // the longest in which both surely did
	Probes []Found   `json:"probes"`
	Lines  []Line    `json:"connections"`
	Sticky []Stick   `json:"stick_tables"`
	Whole  bool      `json:"whole"`         // verify found the pair healthy
	Healed Seconds   `json:"whole_seconds"` // so long after the node was told to come back
}

// Held says that a node held a VIP.
type Held struct {
	Node string `json:"node"`
	VIP  string `json:"vip"`
	Span
}

// Gap is the longest stretch of a kind, and how much of it may be the clocks'.
type Gap struct {
	VIP     string    `json:"vip,omitempty"`
	Seconds Seconds   `json:"seconds"`
	From    time.Time `json:"from,omitzero"`
	Within  Seconds   `json:"uncertain_seconds"`
}

// Found is what became of the probes of one target.
type Found struct {
	Vantage string  `json:"from"` // "here", or the host of --from
	Kind    Kind    `json:"kind"`
	Target  string  `json:"target"`
	Name    string  `json:"name,omitempty"` // of the service
	Every   Seconds `json:"every_seconds"`
	Sent    int     `json:"sent"`
	Lost    int     `json:"lost"` // had no answer, or were refused
	Longest Seconds `json:"longest_outage_seconds"`
	Slowest Seconds `json:"slowest_answer_seconds"`
	Outages []Span  `json:"outages"`
	Said    string  `json:"said,omitempty"` // the error of the first that failed, if there was one
}

// Kind is what is sent.
type Kind string

// The kinds of probes.
const (
	Ping    Kind = "ping"
	Connect Kind = "connect"
)

// Line is what became of a connection that was held.
type Line struct {
	Kind    string     `json:"kind"` // routed, proxied
	Target  string     `json:"target"`
	Name    string     `json:"name"`
	Talk    string     `json:"talk"` // what was said over it: echo, http, smtp; idle if nothing
	Broken  string     `json:"broken,omitempty"`
	At      *time.Time `json:"broken_at,omitempty"`
	Longest Seconds    `json:"longest_stall_seconds"` // without an answer
	Stalls  []Span     `json:"stalls"`
}

// Stick is which server a stick table had for the client.
type Stick struct {
	Service string `json:"service"`
	Client  string `json:"client"`
	Before  string `json:"before"` // "" if it had none
	After   string `json:"after"`
}
