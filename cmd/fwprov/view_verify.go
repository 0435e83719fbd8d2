package main

import (
	"fmt"
	"io"
	"strings"

	"fwprov/provision"
)

// healthView shows to people what verify found.
type healthView struct {
	out   io.Writer
	style style
	brief bool // only what is wrong
}

func (v healthView) health(label string, h provision.Health) {
	var b strings.Builder
	names, failed := 0, 0
	for _, c := range h.Checks {
		names = max(names, len(c.Name))
		if !c.OK {
			failed++
		}
	}
	for _, c := range h.Checks {
		if c.OK && v.brief {
			continue
		}
		word := v.style.green("ok  ")
		if !c.OK {
			word = v.style.red("FAIL")
		}
		detail := strings.ReplaceAll(strings.TrimSpace(provision.Printable(c.Detail)), "\n", "\n        ")
		if c.Node != "" {
			detail = c.Node + ": " + detail
		}
		fmt.Fprintf(&b, "  %s  %-*s  %s\n", word, names, c.Name, detail)
		for _, more := range []string{c.Why, c.Hint} {
			if more != "" && !c.OK {
				fmt.Fprintf(&b, "        %s\n", strings.ReplaceAll(strings.TrimSpace(provision.Printable(more)), "\n", "\n        "))
			}
		}
	}
	b.WriteString(v.style.bold(v.verdict(label, h.State)) + " " + v.tally(len(h.Checks), failed) + "\n")
	_, _ = io.WriteString(v.out, b.String())
}

func (v healthView) verdict(label string, s provision.State) string {
	who := "The pair"
	if label != "" {
		who = label
	}
	switch s {
	case provision.Healthy:
		return v.style.green(who + " is healthy.")
	case provision.Degraded:
		return v.style.yellow(who + " is degraded: it serves, but a fault more would hurt.")
	}
	return v.style.red(who + " is down.")
}

func (v healthView) tally(checks, failed int) string {
	if failed == 0 {
		return count(checks, "check") + " passed."
	}
	return fmt.Sprintf("%d of %s failed.", failed, count(checks, "check"))
}

// healthDocument is verify --json.
type healthDocument struct {
	Inventory string `json:"inventory,omitempty"`
	provision.Health
}

func newHealthDocument(inventory string, h provision.Health) healthDocument {
	if h.Checks == nil {
		h.Checks = []provision.Check{}
	}
	return healthDocument{inventory, h}
}
