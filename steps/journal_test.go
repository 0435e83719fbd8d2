package steps

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fwprov/provision"
)

// TestTransitions reads what two real nodes have written: a start, a drain and its
// end, a stop, a start that won over the other, a VLAN down and up, a kill.
func TestTransitions(t *testing.T) {
	nodes := map[string]provision.Facts{}
	for _, n := range []string{"fw01", "fw02"} {
		f := provision.Facts{}
		parseJournal(said(t, "debian-journal-"+n+".txt"), f)
		nodes[n] = f
	}
	var got []string
	for _, x := range transitions(nodes) {
		got = append(got, fmt.Sprintf("%d %s %s: %s", x.Time.Unix()%100000, x.Node, x.State, x.Why))
	}
	want := []string{
		"8944 fw02 backup: started",
		"8945 fw02 master: heard nobody",
		"8946 fw01 backup: started",
		"10852 fw02 fault: drained, or a check failed",
		"10852 fw01 master: fw02 was drained, or a check of it failed",
		"10856 fw02 backup: the fault is gone",
		"10859 fw01 stopped: keepalived was stopped",
		"10859 fw02 master: keepalived of fw01 was stopped",
		"10863 fw01 backup: started",
		"10866 fw01 master: has a higher priority than fw02",
		"10866 fw02 backup: another has a higher priority",
		"10866 fw02 fault: eth2.2 went down",
		"10870 fw02 backup: the fault is gone",
		"10875 fw02 master: keepalived of fw01 died or was started anew",
		"10875 fw01 backup: started",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if a, b := nodes["fw01"]["vrrp GW"], nodes["fw02"]["vrrp HB"]; a != "backup" || b != "master" {
		t.Errorf("the last states are %s and %s", a, b)
	}
}

func TestParseJournal(t *testing.T) {
	f := provision.Facts{}
	parseJournal(`2026-11-23T04:42:26+0000 fw01 Keepalived_vrrp[12]: VRRP_Instance(GWEXT) Entering MASTER STATE
2026-11-23T04:42:26+0000 fw01 Keepalived_vrrp[12]: VRRP_Instance(GW 1) Entering MASTER STATE
2026-11-23T04:42:26+0000 fw01 Keepalived_vrrp[12]: (GW) Entering MASTER STATE at last
yesterday fw01 Keepalived_vrrp[12]: (GW) Entering FAULT STATE
1795410866.98 fw01 Keepalived_vrrp[12]: (GW) Entering FAULT STATE
1795410866.985400 fw01 sshd[12]: (GW) Entering FAULT STATE
1795410866.985400 fw01 Keepalived_vrrp[12]: Netlink reports eth2.2 down
`, f)
	at := time.Date(2026, 11, 23, 4, 42, 26, 0, time.UTC).UnixMicro()
	want := provision.Facts{"vrrp GWEXT": "master", "journal 0000": fmt.Sprintf("%d state master", at), "journal 0001": "1795410866985400 link eth2.2 down"}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

// TestScriptsSayWhy: a node that a script of keepalived's has put in FAULT (2.2.7, as a
// journal has it).
func TestScriptsSayWhy(t *testing.T) {
	for script, want := range map[string]string{
		"alive":  "its rules let no VRRP through, or firewalld runs",
		"serves": "its peer reaches the gateway or balances, and it does not",
	} {
		f := provision.Facts{}
		parseJournal(`1795410860.000000 fw01 Keepalived_vrrp[12]: (GW) Entering MASTER STATE
1795410866.235940 fw01 Keepalived_vrrp[12]: VRRP_Script(`+script+`) failed (exited with status 1)
1795410866.235944 fw01 Keepalived_vrrp[12]: (GW) Entering FAULT STATE
`, f)
		var got string
		for _, x := range transitions(map[string]provision.Facts{"fw01": f}) {
			got = x.Why
		}
		if got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
}
