package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
)

// setLink pulls a virtual machine's cable, or plugs it in: that the switch's end
// of it is down, the machine would not notice.
func (l *Lab) setLink(ctx context.Context, node, iface string, up bool) error {
	return l.monitor(ctx, node, "set_link", map[string]any{"name": port(node, iface), "up": up})
}

// monitor has a node's qemu carry out one command of QMP.
func (l *Lab) monitor(ctx context.Context, node, command string, arguments map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, l.patience())
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", monitor(l.path("machines", node)))
	if err != nil {
		return fmt.Errorf("%s: reach its monitor: %w", node, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	if err := in.Decode(&struct{}{}); err != nil { // the greeting
		return fmt.Errorf("%s: its monitor: %w", node, err)
	}
	for _, c := range []map[string]any{{"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}} {
		if err := firstOf(out.Encode(c), answer(in)); err != nil {
			return fmt.Errorf("%s: its monitor: %v: %w", node, c["execute"], err)
		}
	}
	return nil
}

// answer reads what QMP says to a command. What it tells unasked goes by.
func answer(in *json.Decoder) error {
	for {
		var said struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := in.Decode(&said); err != nil {
			return err
		}
		switch {
		case said.Error != nil:
			return errors.New(said.Error.Desc)
		case said.Return != nil:
			return nil
		}
	}
}
