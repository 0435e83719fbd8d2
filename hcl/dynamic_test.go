package hcl

import (
	"fmt"
	"testing"
)

// TestDynamic makes many blocks from few lines, one inside the other.
func TestDynamic(t *testing.T) {
	pair, out := load(t, minimal(`
variable "rooms" {
  type    = map(number)
  default = { kitchen = 5, attic = 4 }
}
locals {
  floors = range(10, 210)
  site   = upper("hq")
}
dynamic "vlan" {
  for_each = local.floors
  iterator = floor
  labels   = ["${local.site}-${floor.value}"]
  content {
    id        = floor.value
    network   = cidrsubnet("10.10.0.0/16", 8, floor.value)
    vip       = cidrhost("10.10.${floor.value}.0/24", 1)
    addresses = { fw01 = cidrhost("10.10.${floor.value}.0/24", 2), fw02 = cidrhost("10.10.${floor.value}.0/24", 3) }
  }
}
dynamic "vlan" {
  for_each = var.rooms
  labels   = [vlan.key]
  content {
    id = vlan.value
  }
}
dynamic "service" {
  for_each = { smtp = [25, 2], imap = [143, 3] }
  labels   = [service.key]
  content {
    port = service.value[0]
    dynamic "check" {
      for_each = service.key == "smtp" ? [1] : []
      content {
        type = service.key
      }
    }
    dynamic "server" {
      for_each = range(1, 1 + service.value[1])
      labels   = ["${service.key}${server.value}"]
      content {
        address = "10.10.2.${server.value}"
      }
    }
  }
}
dynamic "allow" {
  for_each = var.rooms
  labels   = ["from-${allow.key}"]
  content {
    from = allow.key
    to   = "outside"
    tcp  = [for p in [80, 443] : p + allow.value]
  }
}
`), Options{})
	if out != "" {
		t.Errorf("said:\n%s", out)
	}
	if n := len(pair.VLANs); n != 204 {
		t.Errorf("%d VLANs", n)
	}
	v := pair.VLANs[2+199]
	if got := fmt.Sprintln(v.Name, v.ID, v.Interface, v.Network, v.VIP, v.Addresses); got != "HQ-209 209 eth2.209 10.10.209.0/24 10.10.209.1 map[fw01:10.10.209.2 fw02:10.10.209.3]\n" {
		t.Error(got)
	}
	if got := pair.VLANs[202].Name + pair.VLANs[203].Name; got != "attickitchen" {
		t.Error(got) // a map has the order of its keys
	}
	imap, smtp := pair.Services[0], pair.Services[1]
	if imap.Name != "imap" || len(imap.Servers) != 3 || imap.Check != nil || imap.Servers[2].Address.String() != "10.10.2.3" {
		t.Errorf("%+v", imap)
	}
	if smtp.Port != 25 || len(smtp.Servers) != 2 || smtp.Check == nil || smtp.Check.Type != "smtp" {
		t.Errorf("%+v", smtp)
	}
	if a := pair.Allows[1]; a.Name != "from-attic" || a.TCP[1].First != 447 {
		t.Errorf("%+v", a)
	}
}
