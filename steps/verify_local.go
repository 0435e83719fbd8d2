package steps

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// pingLocal pings, from here, outside.vip and every VIP that this machine has a
// route of its own to. Over a default route nobody can tell whether an address
// of private use is ours, so there the silence of an inside VIP says nothing.
func pingLocal(ctx context.Context, p *inventories.Pair) []provision.Check {
	if _, err := exec.LookPath("ping"); err != nil {
		return nil
	}
	fallback := nextHop(ctx, "192.0.2.1") // TEST-NET-1, RFC 5737: only a default route leads there
	var asked, silent []string
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, vip := range p.VIPs() {
		addr := vip.Addr.String()
		hop := nextHop(ctx, addr)
		if hop == "" || vip.Addr != p.Outside.VIP && hop == fallback {
			continue
		}
		asked = append(asked, addr)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			// Until the first answer, for 3 s: the VIPs may be on their way.
			if exec.CommandContext(ctx, "ping", "-n", "-q", "-c", "1", "-i", "0.2", "-w", "3", addr).Run() != nil {
				mu.Lock()
				silent = append(silent, addr)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(silent)
	if len(asked) == 0 {
		return nil
	}
	c := provision.Check{Name: "VIPs answer from here", OK: len(silent) == 0, Detail: fmt.Sprintf("%d asked", len(asked))}
	if !c.OK {
		c.Detail = "no answer from " + strings.Join(silent, ", ")
		c.Hint = "traceroute to it from here; the Internet gateway needs its route by the outside VIP"
	}
	return []provision.Check{c}
}

// nextHop is how this machine would reach addr, "" if it has no route or no
// iproute2 to ask.
func nextHop(ctx context.Context, addr string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", "-4", "-o", "route", "get", addr).Output()
	if err != nil {
		return ""
	}
	w := strings.Fields(string(out))
	var hop []string
	for i := 0; i+1 < len(w); i++ {
		if w[i] == "via" || w[i] == "dev" {
			hop = append(hop, w[i+1])
		}
	}
	return strings.Join(hop, " ")
}
