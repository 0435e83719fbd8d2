# A branch office: one of a thousand that look alike. SITE, HOST1 and HOST2 are filled in.

cluster "SITE" {
  domain = "example.com"
}

outside {
  interface = "eth0"
  network   = "192.168.1.0/24"
  gateway   = "192.168.1.254"
  vip       = "192.168.1.10"
}

sync {
  interface = "eth1"
  network   = "10.10.1.0/24"
}

inside {
  interface = "eth2"
  network   = "10.10.0.0/16"
}

node "fw01" {
  outside   = "192.168.1.1"
  sync      = "10.10.1.1"
  vlan_host = 253
  ssh_host  = "HOST1"
}

node "fw02" {
  outside   = "192.168.1.2"
  sync      = "10.10.1.2"
  vlan_host = 252
  ssh_host  = "HOST2"
}

vlan "net2" { id = 2 }
vlan "net3" { id = 3 }
vlan "net4" { id = 4 }
vlan "net5" { id = 5 }
vlan "net6" { id = 6 }
vlan "net7" { id = 7 }
vlan "net8" { id = 8 }
vlan "net9" { id = 9 }
vlan "net10" { id = 10 }
vlan "net11" { id = 11 }
vlan "net12" { id = 12 }
vlan "net13" { id = 13 }
vlan "net14" { id = 14 }
vlan "net15" { id = 15 }
vlan "net16" { id = 16 }
vlan "net17" { id = 17 }
vlan "net18" { id = 18 }
vlan "net19" { id = 19 }
vlan "net20" { id = 20 }
vlan "net21" { id = 21 }

service "smtp" {
  port = 25
  server "a" { address = "10.10.2.11" }
  server "b" { address = "10.10.2.12" }
}

service "web" {
  port = 80
  server "a" { address = "10.10.3.11" }
  server "b" { address = "10.10.3.12" }
}

service "tls" {
  port = 443
  server "a" { address = "10.10.4.11" }
  server "b" { address = "10.10.4.12" }
}

service "imap" {
  port = 993
  server "a" { address = "10.10.5.11" }
  server "b" { address = "10.10.5.12" }
}

service "api" {
  port = 8443
  server "a" { address = "10.10.6.11" }
  server "b" { address = "10.10.6.12" }
}

allow "out" {
  from = "inside"
  to   = "outside"
}
