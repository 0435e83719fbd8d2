package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fwprov/hcl"
	"fwprov/inventories"
	"fwprov/provision"
)

// A saved plan is a file of JSON with three parts: what is known of the plan, the
// seals of the nodes, and a digest of both. It does not hold the plan as such, which
// would have secrets in it: apply plans again, and refuses unless that comes to the
// same. What may follow from secrets is compared by seals, for which the nodes'
// own keys are needed; they also make the file one that cannot be forged.
type savedPlan struct {
	Format int             `json:"fwprov_plan"`
	Digest string          `json:"digest"` // of body and seals, against accidents
	Seals  json.RawMessage `json:"seals"`  // map[string]seals
	Body   json.RawMessage `json:"body"`   // savedBody

	file  string
	body  savedBody
	seals map[string]seals
}

const savedFormat = 1

// maxSaved bounds a saved plan, in bytes; the first of 250 VLANs has 3 MB.
const maxSaved = 64 << 20

// savedBody is what is known of a saved plan.
type savedBody struct {
	Tool      string            `json:"tool"`
	Time      time.Time         `json:"time"`
	Operator  string            `json:"operator"`
	Run       string            `json:"run"` // random: no two plans have the same seals
	Inventory string            `json:"inventory"`
	Vars      map[string]string `json:"vars,omitempty"` // those that are not sensitive
	VarFiles  []string          `json:"var_files,omitempty"`
	AgeKeys   []string          `json:"age_identities,omitempty"` // where they lie
	SSHConfig string            `json:"ssh_config,omitempty"`
	Limit     []string          `json:"limit,omitempty"`
	Only      []string          `json:"only,omitempty"`
	Skip      []string          `json:"skip,omitempty"`
	Pair      json.RawMessage   `json:"pair"` // what the inventory means, secrets masked
	Plan      planDocument      `json:"plan"` // as it was shown
}

// seals are what only a node's key makes.
type seals struct {
	Body      string `json:"body"`
	Inventory string `json:"inventory"` // what it means, with its secrets
	Changes   string `json:"changes"`   // the node's, and what they were computed from
}

// outFlag saves a plan.
func outFlag() cli.Flag {
	return &cli.StringFlag{Name: "out", Usage: "save the plan as `P`, for fwprov apply P; it holds no secret"}
}

// savePlan writes the plan of the session's only pair. File is replaced only if it
// is a saved plan.
func (s *session) savePlan(ctx context.Context, file string, plan *provision.Plan) error {
	p := s.pairs[0]
	keys, err := p.runner.SealKeys(ctx)
	if err != nil {
		return err
	}
	b := savedBody{Tool: toolVersion(), Time: s.w.now().UTC().Truncate(time.Second), Operator: s.w.operator, Run: s.w.id,
		Inventory: absolute(p.file), Vars: s.openVars(p), Limit: s.o.limit, Only: s.o.only, Skip: s.o.skip,
		Pair: compact(p.Describe()), Plan: newPlanDocument("", plan)}
	for _, f := range s.o.varFiles {
		b.VarFiles = append(b.VarFiles, absolute(f))
	}
	for _, f := range s.o.ageIdentities {
		b.AgeKeys = append(b.AgeKeys, absolute(f))
	}
	if b.SSHConfig = s.o.sshConfig; b.SSHConfig != "" && b.SSHConfig != "none" {
		b.SSHConfig = absolute(b.SSHConfig)
	}
	doc := savedPlan{Format: savedFormat}
	if doc.Body, err = json.Marshal(b); err != nil {
		return err
	}
	all := map[string]seals{}
	for _, n := range plan.Nodes {
		all[n.Name] = sealsOf(keys[n.Name], b.Run, doc.Body, p.Pair, n)
	}
	if doc.Seals, err = json.Marshal(all); err != nil {
		return err
	}
	doc.Digest = doc.digest()
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return writeSaved(file, append(text, '\n'))
}

func sealsOf(k provision.SealKey, run string, body []byte, p *inventories.Pair, n *provision.NodePlan) seals {
	return seals{
		Body:      k.Seal([]byte("body"), body),
		Inventory: k.Seal([]byte("inventory"), []byte(run), p.Record()),
		Changes:   k.Seal([]byte("changes"), []byte(run), n.Exact()),
	}
}

func (d *savedPlan) digest() string {
	return provision.Hash(slices.Concat(d.Body, []byte("\n"), d.Seals))
}

// openVars are the variables that were given and are not sensitive.
func (s *session) openVars(p *pair) map[string]string {
	out := map[string]string{}
	for _, v := range p.variables {
		if text, ok := s.o.vars[v.Name]; ok && !v.Sensitive {
			out[v.Name] = text
		}
	}
	return out
}

func absolute(file string) string {
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

func compact(text []byte) json.RawMessage {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		panic("fwprov: " + err.Error())
	}
	return b.Bytes()
}

// writeSaved puts a saved plan in place as a whole, readable by its owner only.
func writeSaved(file string, text []byte) error {
	if _, err := os.Lstat(file); err == nil {
		if old, _ := readSaved(file); old == nil {
			return fmt.Errorf("--out %s: it is there already and is no saved plan", file)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".fwprov-plan.*") // of mode 0600
	if err != nil {
		return fmt.Errorf("save the plan: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("save the plan: %w", err)
	}
	return nil
}

// readSaved reads a saved plan. It is nil if the file is something else, by its
// content, or cannot be read.
func readSaved(file string) (*savedPlan, error) {
	// A pipe given by mistake must not hang the run.
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSaved))
	if err != nil || !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte(`{"fwprov_plan":`)) {
		return nil, nil
	}
	d := &savedPlan{file: file}
	altered := fmt.Errorf("%s was altered after it was saved, or is not all there: make the plan again", file)
	if err := json.Unmarshal(text, d); err != nil {
		return d, altered
	}
	switch {
	case d.Format != savedFormat:
		return d, fmt.Errorf("%s was saved by another version of fwprov, in format %d: make the plan again", file, d.Format)
	case d.Digest != d.digest(), json.Unmarshal(d.Body, &d.body) != nil, json.Unmarshal(d.Seals, &d.seals) != nil:
		return d, altered
	}
	return d, nil
}

// savedArgument is the saved plan that a command is given instead of inventories,
// nil if it is given inventories.
func savedArgument(c *cli.Context) (*savedPlan, error) {
	for _, arg := range c.Args().Slice() {
		d, err := readSaved(arg)
		switch {
		case d == nil:
		case err != nil:
			return nil, err
		case c.NArg() > 1:
			return nil, fmt.Errorf("%s is a saved plan, which is carried out alone", arg)
		default:
			return d, nil
		}
	}
	return nil, nil
}

// begin starts the session that a saved plan was made in, once more.
func (d *savedPlan) begin(ctx context.Context, w *world, c *cli.Context) (*session, error) {
	for _, name := range []string{"limit", "only", "skip"} {
		if c.IsSet(name) {
			return nil, fmt.Errorf("a saved plan is carried out as it is: --%s is for fwprov plan", name)
		}
	}
	if t := toolVersion(); d.body.Tool != t {
		return nil, fmt.Errorf("%s was saved by fwprov %s, and this is %s: make the plan again", d.file, provision.Printable(d.body.Tool), t)
	}
	o, err := readOptions(c)
	if err != nil {
		return nil, err
	}
	o.limit, o.only, o.skip = d.body.Limit, d.body.Only, d.body.Skip
	o.varFiles = slices.Concat(d.body.VarFiles, o.varFiles)
	o.ageIdentities = slices.Concat(d.body.AgeKeys, o.ageIdentities)
	vars := hcl.Values{}
	for name, text := range d.body.Vars {
		vars[name] = text
	}
	for name, text := range o.vars {
		vars[name] = text
	}
	o.vars = vars
	if o.sshConfig == "" {
		o.sshConfig = d.body.SSHConfig
	}
	s, err := open(ctx, w, o, []string{d.body.Inventory})
	if err != nil {
		return nil, err
	}
	if now := compact(s.pairs[0].Describe()); !bytes.Equal(d.body.Pair, now) {
		s.end()
		return nil, fmt.Errorf("%s does not mean any more what it meant when the plan was saved: make the plan again\n%s", d.body.Inventory, strings.Join(differences(d.body.Pair, now), "\n"))
	}
	return s, nil
}
