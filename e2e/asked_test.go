package e2e

import (
	"context"
	"strings"
	"time"
)

// asked lets the traffic move while somebody thinks a plan over, with the locks
// held: it is not carried out any more.
func (r *rig) asked() {
	active := r.holder(5 * time.Second)
	standby := r.pair.Peer(active).Name
	r.edit("tcp  = [", "tcp  = [83, ")
	cmd := r.lab.AdminCommand(context.Background(), binary, "apply", r.file, "--lock-timeout", "1m")
	cmd.Env = append(cmd.Env, "FWPROV_VAR_vrrp_password="+password, "NO_COLOR=1")
	term := onTerminal(r.t, cmd)
	term.expect("Only yes is taken as one:")
	r.on(active, "systemctl restart keepalived")
	if now := r.holder(10 * time.Second); now != standby {
		r.t.Errorf("%s holds the VIPs, not %s", now, standby)
	}
	term.enter("yes")
	code := term.wait()
	text := term.text()
	// Whichever of them is looked at first.
	told := strings.Contains(text, "node "+active+": it was active and is standby now") ||
		strings.Contains(text, "node "+standby+": it was standby and is active now")
	if code != 1 || !told || !strings.Contains(text, "nothing was changed, run fwprov again") {
		r.t.Errorf("exit %d\n%s", code, text)
	}
	if p := r.plan(); len(p.targets(active)) == 0 || len(p.targets(standby)) == 0 {
		r.t.Errorf("one of them was changed: left to do are %q and %q", p.targets(active), p.targets(standby))
	}
	r.apply()
	r.healthy()
}
