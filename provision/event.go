package provision

import "time"

// Event is something that happened in a run. Views print events or write them
// as JSON, one a line; fields are only ever added.
type Event struct {
	Time    time.Time `json:"time"`
	Event   EventKind `json:"event"`
	Node    string    `json:"node,omitempty"`
	Role    Role      `json:"role,omitempty"`
	Step    string    `json:"step,omitempty"`
	Target  string    `json:"target,omitempty"`
	Action  Action    `json:"action,omitempty"`
	Message string    `json:"message,omitempty"`
	Error   string    `json:"error,omitempty"`
	Count   int       `json:"count,omitempty"`   // changes of a node or step
	Seconds float64   `json:"seconds,omitempty"` // what it took
}

// EventKind names what happened.
type EventKind string

// The kinds. Every kind carries Node, except those of the pair.
const (
	Connecting   EventKind = "connecting"
	Probing      EventKind = "probing"
	Planned      EventKind = "planned"        // Role, Count
	Staging      EventKind = "staging"        // Count: files
	Validating   EventKind = "validating"     //
	StepStarted  EventKind = "step"           // Step, Count
	ChangeDone   EventKind = "change"         // Step, Target, Action
	ChangeFailed EventKind = "change_failed"  // Step, Target, Action, Error
	Output       EventKind = "output"         // Step, Message: a line a command printed
	Confirming   EventKind = "confirming"     // a new connection is opened
	NodeDone     EventKind = "node"           // Count, Seconds
	NodeFailed   EventKind = "node_failed"    // Error
	NodeSkipped  EventKind = "node_untouched" // Message: why
	GoingBack    EventKind = "going_back"     // Error: why
	RolledBack   EventKind = "rolled_back"    // Error: what could not be restored, if anything
	Draining     EventKind = "draining"       // Message
	Drained      EventKind = "drained"        // Message: who serves now
	Forced       EventKind = "forced"         // Message: what Force went over
	Waiting      EventKind = "waiting"        // of the pair: Message says for what
	Checked      EventKind = "check"          // of the pair or a node: Target, Message, Error if not OK
)
