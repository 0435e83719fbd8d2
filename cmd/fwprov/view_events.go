package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"

	"fwprov/provision"
)

// eventView shows the events of one pair's run to people: lines for what has
// happened, and the screen's live lines for what is happening. The engine calls
// event one at a time.
type eventView struct {
	scr     *screen
	label   string // stands before the nodes' names, "" for a single pair
	quiet   bool   // failures only
	verbose bool   // what commands print, too
	row     *row   // where there are several pairs: the live line of this one, and no others

	todo, done map[string]int // changes by node
}

func newEventView(scr *screen, label string, quiet, verbose bool) *eventView {
	return &eventView{scr: scr, label: label, quiet: quiet, verbose: verbose, todo: map[string]int{}, done: map[string]int{}}
}

func (v *eventView) event(e provision.Event) {
	name := nodeName(v.label, e.Node)
	if e.Node == "" {
		name = pairName(v.label)
	}
	st := v.scr.style
	switch e.Event {
	case provision.Connecting:
		v.now(name, e.Node, "connecting")
	case provision.Probing:
		v.show(name, e.Node, "looking at it")
	case provision.Planned:
		v.todo[e.Node] = e.Count
		v.hide(name, e.Node)
		v.say(name, "planned: "+count(e.Count, "change"))
	case provision.Staging:
		v.now(name, e.Node, "uploading "+count(e.Count, "file"))
	case provision.Validating:
		v.now(name, e.Node, "checking the new files")
	case provision.StepStarted:
		v.show(name, e.Node, v.counter(e.Node)+e.Step)
	case provision.Output:
		text := provision.Printable(e.Message)
		if v.verbose {
			v.say(name, e.Step+": "+text)
		} else {
			v.show(name, e.Node, v.counter(e.Node)+e.Step+": "+text)
		}
	case provision.ChangeDone:
		v.done[e.Node]++
		v.say(name, fmt.Sprintf("%s: %s %s", e.Step, st.symbol(e.Action), provision.Printable(e.Target)))
		v.show(name, e.Node, v.counter(e.Node)+e.Step)
	case provision.Confirming:
		v.now(name, e.Node, "confirming over a new connection")
	case provision.Draining:
		v.now(name, e.Node, provision.Printable(e.Message))
	case provision.Drained:
		v.say(name, provision.Printable(e.Message))
	case provision.Forced:
		v.tell(name, st.yellow(provision.Printable(e.Message)))
	case provision.Waiting:
		v.now(name, e.Node, "waiting "+provision.Printable(e.Message))
	case provision.NodeDone:
		v.hide(name, e.Node)
		v.say(name, st.green(fmt.Sprintf("done: %s in %.1fs", count(e.Count, "change"), e.Seconds)))
	case provision.NodeSkipped:
		v.hide(name, e.Node)
		v.tell(name, st.yellow(provision.Printable(e.Message)))
	case provision.GoingBack:
		v.now(name, e.Node, "going back to what it was")
	case provision.RolledBack:
		v.hide(name, e.Node)
		v.tell(name, st.yellow("went back to what it was"))
	case provision.ChangeFailed:
		// NodeFailed follows and says the same.
	case provision.NodeFailed:
		v.hide(name, e.Node)
		if v.row == nil { // else the line of the pair says it
			v.tell(name, st.red("failed"))
		}
	}
}

func (v *eventView) counter(node string) string {
	return fmt.Sprintf("%d/%d ", v.done[node], v.todo[node])
}

// show says live what a node is doing, or the pair where node is "".
func (v *eventView) show(name, node, text string) {
	if v.row != nil {
		v.row.show(node, text)
		return
	}
	v.scr.show(name, text)
}

func (v *eventView) hide(name, node string) {
	if v.row != nil {
		v.row.show(node, "")
		return
	}
	v.scr.hide(name)
}

// now says what a node is doing: live if that can be seen, else as a line.
func (v *eventView) now(name, node, text string) {
	if v.scr.live || v.row != nil {
		v.show(name, node, text)
		return
	}
	v.say(name, text)
}

// say tells what need not be known where there are several pairs.
func (v *eventView) say(name, text string) {
	if !v.quiet && v.row == nil {
		v.tell(name, text)
	}
}

func (v *eventView) tell(name, text string) {
	fmt.Fprintf(v.scr.stderr(), "%s: %s\n", name, text)
}

// eventDocument is a line of apply --json.
type eventDocument struct {
	Inventory string `json:"inventory,omitempty"`
	provision.Event
}

// summaryDocument is the last line of apply --json.
type summaryDocument struct {
	Inventory  string          `json:"inventory,omitempty"`
	Event      string          `json:"event"`
	Changed    int             `json:"changed"`
	Failed     int             `json:"failed"`
	RolledBack bool            `json:"rolled_back"`
	Seconds    float64         `json:"seconds"`
	State      provision.State `json:"state,omitempty"`     // only if it was verified
	Left       []string        `json:"left,omitempty"`      // nodes that are not as planned
	NotBegun   bool            `json:"not_begun,omitempty"` // nothing was tried
}

// showSummary tells people how a pair's apply ended.
func showSummary(out io.Writer, st style, label string, o outcome) {
	sum := o.summary
	text := fmt.Sprintf("%s made in %.1fs", count(sum.Changed, "change"), sum.Seconds)
	if label != "" {
		text = label + ": " + text
	}
	if sum.Failed > 0 {
		text += st.red(fmt.Sprintf("; %s failed", count(sum.Failed, "node")))
	}
	if sum.RolledBack {
		text += st.red(" and went back to what was")
	}
	text += "."
	if o.state == provision.Healthy {
		text += " " + st.green("It is healthy.") // elsewhere this is told after the summary
	}
	if len(o.left) > 0 {
		verb := " is"
		if len(o.left) > 1 {
			verb = " are"
		}
		text += " " + list(o.left) + verb + " not as planned yet: the next apply goes on from there."
	}
	fmt.Fprintln(out, st.bold(text))
}

// writeJSON writes one document as one line.
func writeJSON(w io.Writer, doc any) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = w.Write(append(harmless(b), '\n'))
	return err
}

// tenths rounds seconds to what is worth reading.
func tenths(s float64) float64 { return math.Round(s*10) / 10 }

// pairName is how the pair itself is called among its nodes.
func pairName(label string) string {
	if label == "" {
		return "pair"
	}
	return label
}
