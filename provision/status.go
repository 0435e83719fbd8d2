package provision

import "context"

// Look asks all nodes the same, side by side. Of a node there are either facts, or
// the reason why not.
func (r *Runner) Look(ctx context.Context, p Probe) (map[string]Facts, map[string]error) {
	nodes := r.all()
	facts, errs := make([]Facts, len(nodes)), make([]error, len(nodes))
	_ = each(nodes, func(i int, n Node) error {
		facts[i], errs[i] = r.probe(ctx, n, []namedProbe{{"status", p}})
		return nil
	})
	byName, failed := map[string]Facts{}, map[string]error{}
	for i, n := range nodes {
		if errs[i] != nil {
			failed[n.Name] = r.heard(errs[i])
		} else {
			byName[n.Name] = facts[i]
		}
	}
	return byName, failed
}
