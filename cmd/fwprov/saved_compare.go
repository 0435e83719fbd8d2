package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fwprov/provision"
)

// compare makes sure that a plan made now is the one that was saved. All that is
// not is in the error.
func (d *savedPlan) compare(ctx context.Context, p *pair, plan *provision.Plan) error {
	keys, err := p.runner.SealKeys(ctx)
	if err != nil {
		return err
	}
	now := newPlanDocument("", plan)
	var errs []error
	for i, n := range plan.Nodes {
		want, got := d.seals[n.Name], sealsOf(keys[n.Name], d.body.Run, d.Body, p.Pair, n)
		var then nodeDocument
		if i < len(d.body.Plan.Nodes) {
			then = d.body.Plan.Nodes[i]
		}
		switch {
		case want.Body != got.Body:
			err = fmt.Errorf("%s does not bear the seal of %s: it was altered, or that machine was set up anew", d.file, n.Name)
		case want.Inventory != got.Inventory:
			err = errors.New("a sensitive value of the inventory is another than when the plan was saved")
		case !sameJSON(then, now.Nodes[i]):
			err = fmt.Errorf("node %s is no longer what it was when the plan was saved:\n%s", n.Name, strings.Join(otherChanges(then, now.Nodes[i]), "\n"))
		case want.Changes != got.Changes:
			err = fmt.Errorf("node %s is no longer what it was when the plan was saved: the changes are the same, but not what they follow from", n.Name)
		default:
			continue
		}
		if !slices.ContainsFunc(errs, func(e error) bool { return e.Error() == err.Error() }) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func sameJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// mostShown is how many differences an error lists.
const mostShown = 6

func firstOf(lines []string) []string {
	if len(lines) > mostShown {
		return append(lines[:mostShown:mostShown], fmt.Sprintf("and %d more", len(lines)-mostShown))
	}
	return lines
}

// otherChanges says in what two plans of a node differ.
func otherChanges(then, now nodeDocument) []string {
	var out []string
	if then.Role != now.Role {
		out = append(out, fmt.Sprintf("it was %s and is %s", roleName(then.Role), roleName(now.Role)))
	}
	name := func(c changeDocument) string {
		s := fmt.Sprintf("%s: %s %s", c.Step, c.Action, c.Target)
		if c.Why != "" {
			s += " (" + c.Why + ")"
		}
		return provision.Printable(s)
	}
	for _, c := range now.Changes {
		switch i := slices.IndexFunc(then.Changes, func(t changeDocument) bool { return t.Step == c.Step && t.Target == c.Target && t.Action == c.Action }); {
		case i < 0:
			out = append(out, "to be done now as well: "+name(c))
		case !sameJSON(then.Changes[i], c):
			out = append(out, "to be done in another way: "+name(c))
		}
	}
	for _, t := range then.Changes {
		if !slices.ContainsFunc(now.Changes, func(c changeDocument) bool { return t.Step == c.Step && t.Target == c.Target && t.Action == c.Action }) {
			out = append(out, "not to be done any more: "+name(t))
		}
	}
	if len(out) == 0 {
		out = append(out, "the changes are the same, but not their order or what others have to do")
	}
	return firstOf(out)
}

func roleName(r provision.Role) string {
	if r == provision.None || r == "" {
		return "without a VIP like its peer"
	}
	return string(r)
}

// differences says in what two JSON texts differ, by path.
func differences(then, now []byte) []string {
	before, after := map[string]string{}, map[string]string{}
	var order []string
	for _, x := range []struct {
		text []byte
		into map[string]string
	}{{then, before}, {now, after}} {
		var v any
		if err := json.Unmarshal(x.text, &v); err != nil {
			return []string{"it cannot be compared: " + err.Error()}
		}
		flatten("", v, func(path, value string) {
			order = append(order, path)
			x.into[path] = value
		})
	}
	slices.Sort(order)
	var out []string
	for _, path := range slices.Compact(order) {
		switch was, is := before[path], after[path]; {
		case was == is:
		case was == "":
			out = append(out, fmt.Sprintf("%s is new: %s", path, is))
		case is == "":
			out = append(out, fmt.Sprintf("%s is gone, was %s", path, was))
		default:
			out = append(out, fmt.Sprintf("%s is %s, was %s", path, is, was))
		}
	}
	return firstOf(out)
}

// flatten calls leaf for every value in a decoded JSON text that is no collection.
// Elements go by their name, if they have one.
func flatten(path string, v any, leaf func(path, value string)) {
	join := func(more string) string { return strings.TrimPrefix(path+"."+more, ".") }
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			flatten(join(k), x, leaf)
		}
	case []any:
		for i, x := range v {
			at := strconv.Itoa(i)
			if m, ok := x.(map[string]any); ok && m["Name"] != nil {
				at = fmt.Sprint(m["Name"])
			}
			flatten(path+"["+at+"]", x, leaf)
		}
	default:
		b, err := json.Marshal(v)
		if err != nil {
			panic("fwprov: " + err.Error())
		}
		leaf(path, provision.Printable(string(b)))
	}
}
