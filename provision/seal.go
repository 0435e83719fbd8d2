package provision

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"fwprov/provision/remote"
)

// SealKey makes digests that only somebody who is root on a node can make or
// check: what a plan that is kept in a file has to be compared with may follow
// from secrets, which could be guessed from plain digests.
type SealKey struct{ key []byte }

// Seal is the digest of parts, in order, each as it is.
func (k SealKey) Seal(parts ...[]byte) string {
	h := hmac.New(sha256.New, k.key)
	for _, p := range parts {
		fmt.Fprintf(h, "%d ", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sealScript prints a digest of the machine's SSH host keys: nothing else on a
// fresh machine is secret and stays.
const sealScript = scriptHead + `set -- /etc/ssh/ssh_host_*_key
[ -r "$1" ] || { echo "there is no SSH host key in /etc/ssh, by which a saved plan is known again" >&2; exit 1; }
{ echo 'fwprov: key of saved plans'; cat -- "$@"; } | sha256sum
`

// SealKeys asks all nodes for their keys, by node name.
func (r *Runner) SealKeys(ctx context.Context) (map[string]SealKey, error) {
	keys := make([]SealKey, len(r.Nodes))
	err := each(r.Nodes, func(i int, n Node) error {
		res, err := r.exec(ctx, n.Name, "read the key of saved plans", fileTimeout, remote.Command{Script: sealScript, MaxOutput: 1 << 10})
		if err != nil {
			return err
		}
		digest, _, _ := strings.Cut(string(res.Stdout), " ")
		if keys[i].key, err = hex.DecodeString(digest); err != nil || len(keys[i].key) != sha256.Size {
			return fmt.Errorf("node %s: read the key of saved plans: sha256sum said %q", n.Name, Printable(string(res.Stdout)))
		}
		return nil
	})
	out := map[string]SealKey{}
	for i, n := range r.Nodes {
		out[n.Name] = keys[i]
	}
	return out, err
}

// Exact is all that a node's plan would do and what it was computed from, the same
// for the same plan. Secrets could be guessed from it: it is for SealKey.Seal only.
func (n *NodePlan) Exact() []byte {
	type written struct {
		Path, Hash, Mode string
	}
	type exact struct {
		Change
		Write *written
	}
	out := struct {
		Role    Role
		Changes []exact
	}{Role: n.Role}
	for _, c := range n.Changes {
		e := exact{Change: c}
		if c.Write != nil {
			e.Write = &written{c.Write.Path, Hash(c.Write.Content), c.Write.Perm().String()}
		}
		out.Changes = append(out.Changes, e)
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic("provision: " + err.Error())
	}
	return b
}
