package steps

import (
	"net/netip"
	"strings"

	"fwprov/provision"
)

// parseInterfaces reads what the interfaces step's probe printed. Besides the
// facts told in facts.go:
//
//	ifupdown source      "yes" if /etc/network/interfaces reads interfaces.d
//	ifupdown NAME        the file that has an iface line for it and is not ours
//	ifcfg trunk          "up" if somebody's ifcfg file brings the trunk up at boot
func parseInterfaces(output string, f provision.Facts) error {
	s := sections(output)
	link, addr, route := sortIP(s["ip"])
	for _, l := range link {
		w := strings.Fields(l)
		name, _, _ := strings.Cut(w[0], "@")
		state := "down"
		for _, flag := range strings.Split(strings.Trim(w[len(w)-1], "<>"), ",") {
			switch flag {
			case "UP":
				state = "up"
			case "LOWER_UP":
				f[provision.Key("carrier", name)] = "yes"
			}
		}
		f[provision.Key("link", name)] = state
	}
	for _, l := range s["vlan"] { // eth2.2  | 2  | eth2
		w := strings.Split(l, "|")
		if len(w) != 3 {
			continue
		}
		key := provision.Key("link", strings.TrimSpace(w[0]))
		id, parent := strings.TrimSpace(w[1]), strings.TrimSpace(w[2])
		if f[key] != "" && id != "" && parent != "" && !strings.Contains(f[key], " ") {
			f[key] += " vlan " + parent + " " + id
		}
	}
	for _, l := range s["ip"] {
		parseDivert(l, f)
	}
	for _, l := range addr {
		parseAddr(strings.Fields(l), f)
	}
	for _, l := range route {
		parseRoute(strings.Fields(l), f)
	}
	for _, l := range s["interfaces"] {
		parseIfupdown(l, f)
	}
	parseIfcfg(s["ifcfg"], f)
	return nil
}

// sortIP tells the lines of ip -br link, ip -br addr and ip route apart: those of
// links end with their flags, <UP,...>, those of addresses have a state such as UP or
// LOWERLAYERDOWN, those of default routes begin with that word.
func sortIP(lines []string) (link, addr, route []string) {
	for _, l := range lines {
		w := strings.Fields(l)
		switch {
		case len(w) == 0:
		case w[0] == "default":
			route = append(route, l)
		case len(w) > 2 && strings.HasPrefix(w[len(w)-1], "<"):
			link = append(link, l)
		case len(w) > 1 && strings.Trim(w[1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "":
			addr = append(addr, l)
		}
	}
	return link, addr, route
}

// parseAddr reads a line of ip -br addr: NAME STATE ADDRESS/BITS ...; a word
// may stand between, and the far end of a point-to-point link follows "peer".
func parseAddr(w []string, f provision.Facts) {
	if len(w) < 3 {
		return
	}
	name, _, _ := strings.Cut(w[0], "@")
	for i, a := range w[2:] {
		if w[i+1] == "peer" {
			continue
		}
		if p, err := netip.ParsePrefix(a); err == nil && p.Addr().Is4() {
			f[provision.Key("addr", name, p.String())] = "yes"
		}
	}
}

// parseRoute reads a default route; the first has the best metric.
func parseRoute(w []string, f provision.Facts) {
	if f["route default"] != "" {
		return
	}
	var via, dev string
	for i := 0; i+1 < len(w); i++ {
		switch w[i] {
		case "via":
			via = w[i+1]
		case "dev":
			dev = w[i+1]
		}
	}
	if via != "" && dev != "" {
		f["route default"] = "via " + via + " dev " + dev
	}
}

func parseIfupdown(line string, f provision.Facts) {
	path, rest, ok := strings.Cut(line, ":")
	w := strings.Fields(rest)
	if !ok || len(w) < 2 || path == ifupdownFile {
		return
	}
	switch w[0] {
	case "iface":
		f[provision.Key("ifupdown", w[1])] = path
	case "source", "source-directory":
		if strings.Contains(w[1], "interfaces.d") {
			f["ifupdown source"] = "yes"
		}
	}
}

func parseIfcfg(lines []string, f provision.Facts) {
	a := assignments(lines)
	dhcp := a["BOOTPROTO"] == "dhcp" || a["BOOTPROTO"] == "bootp"
	if strings.EqualFold(a["ONBOOT"], "yes") && !dhcp && a["IPADDR"] == "" && a["IPADDR0"] == "" {
		f["ifcfg trunk"] = "up"
	}
}
