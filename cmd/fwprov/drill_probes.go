package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fwprov/cmd/fwprov/drill"
	"fwprov/provision/remote"
	"fwprov/steps"
)

// probes are all that watch one exercise.
type probes struct {
	e       *exercise
	begin   time.Time
	end     time.Time // set by stop
	client  netip.Addr
	cancel  context.CancelFunc
	once    sync.Once
	running sync.WaitGroup
	pinger  *drill.Pinger
	dialers []*drill.Dialer
	streams []*drill.Stream
	nodes   map[string]*drill.Follower
	far     *drill.Follower
	silent  []string // targets that did not answer before anything was taken down
}

// Of many VIPs and services each is probed less often, so that this many probes a
// second are not exceeded.
const (
	mostPings    = 2000
	mostConnects = 100
	connectEvery = 50 * time.Millisecond
)

// start starts all probes. What cannot be probed is noted.
func (e *exercise) start(ctx context.Context) *probes {
	ctx, cancel := context.WithCancel(ctx)
	p := &probes{e: e, cancel: cancel, nodes: map[string]*drill.Follower{}}
	within := warmUp + e.down + putBackWithin + coolDown + 10*time.Second
	for _, n := range e.pair.Nodes {
		f := drill.NewFollower()
		p.nodes[n.Name] = f
		p.running.Go(func() {
			f.Run(ctx, func(ctx context.Context, script string, in io.Reader, onLine func(string)) error {
				return e.pair.runner.Follow(ctx, n.Name, script, in, onLine)
			}, steps.HolderWatch(within))
		})
	}
	var vips []netip.Addr
	for _, v := range e.pair.VIPs() {
		vips = append(vips, v.Addr)
	}
	every := max(e.interval, time.Second*time.Duration(len(vips))/mostPings)
	services := steps.DrillServices(e.pair.Pair)
	if e.far != nil {
		p.far = drill.NewFollower()
		p.running.Go(func() { p.far.Run(ctx, e.far.follow, drill.FarScript(vips, services, every, within)) })
	}
	p.client = localAddress(e.pair.Outside.VIP)
	p.holdLines(ctx, services)
	p.await(ctx)
	p.begin = e.w.now().Round(0)
	var err error
	if p.pinger, err = drill.NewPinger(vips, every, token(e.name)); err != nil {
		e.note("no pings from here: %v", err)
	} else {
		p.running.Go(func() { p.pinger.Run(ctx) })
	}
	pause := max(connectEvery, time.Second*time.Duration(len(services))/mostConnects)
	for _, s := range services {
		d := drill.NewDialer(s, pause)
		p.dialers = append(p.dialers, d)
		p.running.Go(func() { d.Run(ctx) })
	}
	if len(services) == 0 {
		e.note("the inventory has no service: no connection through a balancer was probed")
	}
	for _, s := range p.streams {
		p.running.Go(func() { s.Run(ctx) })
	}
	return p
}

// await waits until those who watch elsewhere have begun to.
func (p *probes) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	watch := []*drill.Follower{}
	for _, n := range p.e.pair.Nodes {
		watch = append(watch, p.nodes[n.Name])
	}
	if p.far != nil {
		watch = append(watch, p.far)
	}
	for _, f := range watch {
		select {
		case <-f.Ready():
		case <-ctx.Done():
		}
	}
}

// holdLines opens one routed connection and one proxied.
func (p *probes) holdLines(ctx context.Context, services []steps.Target) {
	routed := steps.RoutedTargets(p.e.pair.Pair, p.client)
	if p.e.routed != "" {
		t, _ := steps.ParseTarget(p.e.routed) // it was looked at before
		routed = []steps.Target{t}
	}
	p.hold(ctx, "routed", routed)
	if len(services) > 0 {
		p.hold(ctx, "proxied", services)
	}
}

// mostTries bounds to how many targets a connection is tried.
const mostTries = 4

// hold opens a connection to the first target that lets it.
func (p *probes) hold(ctx context.Context, kind string, targets []steps.Target) {
	var reasons []string
	for i, t := range targets {
		if i == mostTries {
			break
		}
		s, err := drill.Open(ctx, kind, t)
		if err == nil {
			p.streams = append(p.streams, s)
			return
		}
		reasons = append(reasons, fmt.Sprintf("%s: %v", t.Addr, err))
	}
	if ctx.Err() != nil {
		return
	}
	hint := ""
	if kind == "routed" {
		hint = "; --routed ADDRESS:PORT names a target"
	}
	if len(reasons) == 0 {
		p.e.note("no %s connection was held: the inventory lets none through to a known address from here%s", kind, hint)
		return
	}
	p.e.note("no %s connection was held (%s)%s", kind, strings.Join(reasons, ", "), hint)
}

// dropSilent notes what has not answered so far.
func (p *probes) dropSilent() {
	for _, s := range p.local() {
		if !slices.ContainsFunc(s.Samples, func(x drill.Sample) bool { return !x.Back.IsZero() }) {
			p.silent = append(p.silent, string(s.Kind)+s.Target)
			p.e.note("%s does not answer a %s from here, so that nothing is known of it", s.Target, s.Kind)
		}
	}
	if p.far == nil {
		return
	}
	lines, _, err := p.far.Heard()
	for _, line := range lines {
		if what, ok := strings.CutPrefix(line, "no "); ok {
			p.e.note("%s has no %s: it does not probe with it", p.e.from, what)
		}
	}
	if err != nil {
		p.e.note("no probes from %s: %v", p.e.from, err)
	}
}

// local are the samples of the probes from here.
func (p *probes) local() []drill.Series {
	var out []drill.Series
	if p.pinger != nil {
		out = p.pinger.Series()
	}
	for _, d := range p.dialers {
		out = append(out, d.Series())
	}
	return out
}

// stop ends all probes and waits for their last answers.
func (p *probes) stop() {
	p.once.Do(func() {
		p.end = p.e.w.now().Round(0)
		p.cancel()
		p.running.Wait()
	})
}

// judge puts into an exercise what the probes have seen. They are stopped.
func (p *probes) judge(x *drill.Exercise) {
	x.Probes, x.Lines = []drill.Found{}, []drill.Line{}
	for _, s := range p.local() {
		if !slices.Contains(p.silent, string(s.Kind)+s.Target) {
			x.Probes = append(x.Probes, drill.Find(s))
		}
	}
	if p.far != nil {
		lines, clock, _ := p.far.Heard()
		for _, s := range drill.FarSeries(lines, p.e.from, steps.DrillServices(p.e.pair.Pair), clock, p.end) {
			x.Probes = append(x.Probes, drill.Find(s))
		}
	}
	for _, s := range p.streams {
		l := s.Line(p.end)
		if l.At != nil && l.At.Before(x.Down) {
			p.e.note("the %s connection to %s ended before anything was taken down: %s", l.Kind, l.Target, l.Broken)
			continue
		}
		x.Lines = append(x.Lines, l)
	}
	p.judgeHolders(x)
}

// judgeHolders tells who held what, by our clock.
func (p *probes) judgeHolders(x *drill.Exercise) {
	var vips []string
	for _, v := range p.e.pair.VIPs() {
		vips = append(vips, v.Addr.String())
	}
	var moves []drill.Move
	var uncertain time.Duration
	for _, n := range p.e.pair.Nodes {
		lines, clock, err := p.nodes[n.Name].Heard()
		uncertain += clock.Within
		moves = append(moves, drill.Moves(lines, n.Name, vips, clock, p.begin)...)
		switch {
		case err == nil && clock.Known:
		case n.Name == x.Node:
			// What it said of its end did not come through.
			p.e.note("%s could not be watched to the end: it is taken to have held nothing since it was taken down", n.Name)
			for _, vip := range vips {
				moves = append(moves, drill.Move{At: x.Down, Node: n.Name, VIP: vip})
			}
		default:
			p.e.note("who held the VIPs could not be watched on %s all the time: %v", n.Name, err)
		}
	}
	x.Held = drill.HeldBy(moves, p.begin, p.end)
	x.None, x.Two = drill.Gaps(x.Held, vips, p.begin, p.end, uncertain)
	x.Took = true
	for _, vip := range vips {
		x.Took = x.Took && slices.ContainsFunc(x.Held, func(h drill.Held) bool {
			return h.VIP == vip && h.Node == x.Peer && h.From.Before(x.Back) && !h.To.Before(x.Back)
		})
	}
}

// token is a number that others do not have.
func token(text string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text)) // it never fails
	return h.Sum32()
}

// localAddress is the address that this machine reaches another one from. Nothing is
// sent for that.
func localAddress(to netip.Addr) netip.Addr {
	conn, err := net.Dial("udp4", netip.AddrPortFrom(to, 9).String())
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	addr, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr()
}

// farHost is the host of --from.
type farHost struct{ conn *remote.Client }

// reach connects to the host of --from; nil if there is none.
func (d *drillRun) reach(ctx context.Context) (*farHost, error) {
	if d.from == "" {
		return nil, nil
	}
	t := remote.Target{Node: d.from, Host: d.from, KnownHosts: d.pair.SSH.KnownHosts}
	if user, host, ok := strings.Cut(t.Host, "@"); ok {
		t.User, t.Host = user, host
	}
	if host, port, ok := strings.Cut(t.Host, ":"); ok {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("--from %s: %s is no port", d.from, port)
		}
		t.Host, t.Port = host, n
	}
	o := d.ssh()
	o.Fresh = true // what is measured must not end with somebody else's connection
	conn, err := d.trust.dial(ctx, t, o)
	if err != nil {
		return nil, fmt.Errorf("--from %s: %w", d.from, err)
	}
	return &farHost{conn}, nil
}

func (f *farHost) follow(ctx context.Context, script string, in io.Reader, onLine func(string)) error {
	res, err := f.conn.Exec(ctx, remote.Command{Script: script, Stdin: in, OnLine: onLine})
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("exit status %d", res.Code)
	}
	return err
}

func (f *farHost) close() {
	if f != nil {
		_ = f.conn.Close()
	}
}
