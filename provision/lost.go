package provision

import (
	"fmt"
	"strings"
)

// A node that goes back by itself, with nobody there to see it, leaves word of
// what it could not restore. It is told until the next apply changes the node.

// lost is the fact of what the node could not restore when it last went back.
const lost = "lost"

// lostScript prints the result of the last time that the node went back.
const lostScript = "for f in " + resultNow + " " + resultFile + "; do\n\t[ ! -r $f ] || { cat $f; break; }\ndone\n"

// parseLost reads it: the run, then "ok" or what could not be restored.
func parseLost(out string, f Facts) {
	if all := lines(out); len(all) > 1 && all[1] != "ok" {
		if what := strings.Fields(all[1]); len(what) > 0 {
			f[lost] = strings.Join(what, ", ")
		}
	}
}

// tellLost says so, and what to do, "" if nothing was lost.
func tellLost(node string, f Facts) (detail, hint string) {
	if f[lost] == "" {
		return "", ""
	}
	return "went back from a change that was not confirmed, but not in all; it could not restore " + f[lost],
		fmt.Sprintf("see %s/log on %s. The next apply that changes the node forgets it, and so does: rm -f %s %s", snapshotDir, node, resultFile, resultNow)
}
