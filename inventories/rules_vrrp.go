package inventories

import (
	"fmt"
	"slices"
	"time"
)

// vrrp checks how the nodes agree, and conntrackd's two settings.
func (f *finder) vrrp() {
	v := f.p.VRRP
	if v.Version != 2 && v.Version != 3 {
		f.add("vrrp.version", "No such VRRP version", "The version is 2 or 3, not %d.", v.Version)
	}
	f.oneOf("vrrp.instances", string(v.Form), string(Single), string(PerVLAN))
	if v.Profile != "" {
		f.oneOf("vrrp.profile", v.Profile, "vm")
	}
	f.oneOf("state_sync.mode", f.p.StateSync.Mode, ModeFTFW, ModeAlarm)
	f.oneOf("state_sync.transport", f.p.StateSync.Transport, TransportUnicast, TransportMulticast)
	f.heartbeats()
	f.password()
	f.advert("vrrp.advert_interval", v.AdvertInterval)
	if slices.Contains(v.Heartbeats, HeartbeatOutside) {
		f.advert("vrrp.outside_advert_interval", v.OutsideAdvertInterval)
	}
	last, why := 255, "A router id"
	if v.Form == Single {
		last, why = 254, "The next one is HB's, so that this"
	}
	f.between("vrrp.first_router_id", "Router id out of range", v.FirstRouterID, 1, last, why)
}

func (f *finder) oneOf(path, got string, names ...string) {
	if !slices.Contains(names, got) {
		f.add(path, "Unknown value", "It is one of %q, not %q.", names, got)
	}
}

func (f *finder) heartbeats() {
	v := f.p.VRRP
	for i, h := range v.Heartbeats {
		path := fmt.Sprintf("vrrp.heartbeat[%d]", i)
		switch {
		case h != HeartbeatSync && h != HeartbeatOutside:
			hint := ""
			if s := Nearest(h, []string{HeartbeatSync, HeartbeatOutside}); s != "" {
				hint = fmt.Sprintf(" Did you mean %q?", s)
			}
			f.add(path, "Unknown heartbeat", "A heartbeat is \"sync\" or \"outside\", not %q.%s", h, hint)
			return
		case slices.Contains(v.Heartbeats[:i], h):
			f.add(path, "Heartbeat twice", "%q is in the list already.", h)
			return
		case h == HeartbeatOutside && v.Form == PerVLAN:
			f.add(path, "Heartbeat not possible", "With instances = \"per_vlan\" all of VRRP is on the sync interface: write [\"sync\"].").on("vrrp.instances")
			return
		}
	}
	switch {
	case !slices.Contains(v.Heartbeats, HeartbeatSync):
		f.add("vrrp.heartbeat", "Heartbeat missing", "\"sync\" is always one of them: on the outside network alone anyone could fake it.")
	case len(v.Heartbeats) == 1:
		hint := "Add \"outside\"."
		if v.Form == PerVLAN {
			hint = "instances = \"single\" has two."
		}
		f.add("vrrp.heartbeat", "Only one heartbeat", "If the sync network fails silently, both nodes become active. %s", hint).warn()
	}
}

// password checks what keepalived would cut off or ignore. The value is never part
// of a problem.
func (f *finder) password() {
	v := f.p.VRRP
	if v.Password.IsZero() {
		return
	}
	const path = "vrrp.password"
	switch pw := v.Password.Reveal(); {
	case v.Version == 3:
		f.add(path, "Password with VRRP version 3", "Version 3 has no password: drop it, or set version = 2.").on("vrrp.version")
	case len(pw) > 8:
		f.add(path, "Password too long", "It has %d characters; keepalived cuts off what follows the 8th. Take 1 to 8 letters and digits.", len([]rune(pw)))
	case !alnum.MatchString(pw):
		f.add(path, "Password not alphanumeric", "Take 1 to 8 letters and digits (A-Z, a-z, 0-9): other characters mean something in keepalived.conf.")
	}
}

// advert checks an interval by what the version can put on the wire.
func (f *finder) advert(path string, d time.Duration) {
	switch f.p.VRRP.Version {
	case 2:
		if d < time.Second || d > 255*time.Second || d%time.Second != 0 {
			f.add(path, "Interval not possible", "VRRP version 2 counts whole seconds, 1s to 255s, not %s. Version 3 has shorter ones.", d).on("vrrp.version")
		}
	case 3:
		if d < 10*time.Millisecond || d > 40950*time.Millisecond || d%(10*time.Millisecond) != 0 {
			f.add(path, "Interval not possible", "VRRP version 3 counts hundredths of a second, 10ms to 40.95s, not %s.", d).on("vrrp.version")
		}
	}
}

// vrids checks that each instance of the form per_vlan has a router id of its own.
func (f *finder) vrids() {
	if f.p.VRRP.Form != PerVLAN {
		return
	}
	type owner struct{ who, path string }
	taken := map[int]owner{f.p.VRRP.FirstRouterID: {"GWEXT (first_router_id)", "vrrp.first_router_id"}}
	for _, v := range f.p.VLANs {
		path := "vlan." + v.Name + ".vrid"
		switch o, used := taken[v.VRID]; {
		case v.VRID == 0:
			f.add(path, "VLAN without a router id", "The id of VLAN %q, %d, is none of 2 to 255: give it a `vrid` that no other VLAN has.", v.Name, v.ID).
				on("vlan."+v.Name+".id", "vrrp.instances")
		case v.VRID < 1 || v.VRID > 255:
			f.add(path, "Router id out of range", "A VRRP router id is 1 to 255, not %d.", v.VRID)
		case used:
			f.add(path, "Router id used twice", "%d is %s already: give VLAN %q another `vrid`.", v.VRID, o.who, v.Name).on(o.path, "vlan."+v.Name+".id")
		default:
			taken[v.VRID] = owner{fmt.Sprintf("VLAN %q", v.Name), path}
		}
	}
}
