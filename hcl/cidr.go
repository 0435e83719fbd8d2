package hcl

import (
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/gocty"
)

// cidrHostFunc is cidrhost("10.10.2.0/24", 254) = "10.10.2.254". A negative
// number counts from the end.
func cidrHostFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "prefix", Type: cty.String}, {Name: "hostnum", Type: cty.Number}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			p, err := prefixArg(args[0])
			if err != nil {
				return cty.NilVal, err
			}
			host, err := intArg(args, 1, "hostnum")
			if err != nil {
				return cty.NilVal, err
			}
			n, size := big.NewInt(int64(host)), hosts(p)
			if n.Sign() < 0 {
				n.Add(n, size)
			}
			if n.Sign() < 0 || n.Cmp(size) >= 0 {
				return cty.NilVal, function.NewArgErrorf(1, "%s has no host %d", p, host)
			}
			return cty.StringVal(add(p.Addr(), n).String()), nil
		},
	})
}

// cidrSubnetFunc is cidrsubnet("10.10.0.0/16", 8, 2) = "10.10.2.0/24".
func cidrSubnetFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{
			{Name: "prefix", Type: cty.String}, {Name: "newbits", Type: cty.Number}, {Name: "netnum", Type: cty.Number},
		},
		Type: function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			p, err := prefixArg(args[0])
			if err != nil {
				return cty.NilVal, err
			}
			more, err := intArg(args, 1, "newbits")
			if err != nil {
				return cty.NilVal, err
			}
			num, err := intArg(args, 2, "netnum")
			if err != nil {
				return cty.NilVal, err
			}
			bits := p.Addr().BitLen()
			if more < 0 || more > bits-p.Bits() {
				return cty.NilVal, function.NewArgErrorf(1, "%s cannot be cut by %d bits", p, more)
			}
			n := big.NewInt(int64(num))
			if n.Sign() < 0 || n.BitLen() > more {
				return cty.NilVal, function.NewArgErrorf(2, "%d bits have no number %d", more, num)
			}
			n.Lsh(n, uint(bits-p.Bits()-more))
			return cty.StringVal(netip.PrefixFrom(add(p.Addr(), n), p.Bits()+more).String()), nil
		},
	})
}

// cidrNetmaskFunc is cidrnetmask("10.10.2.0/24") = "255.255.255.0".
func cidrNetmaskFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "prefix", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			p, err := prefixArg(args[0])
			if err != nil {
				return cty.NilVal, err
			}
			if !p.Addr().Is4() {
				return cty.NilVal, function.NewArgError(0, errors.New("only IPv4 has netmasks"))
			}
			return cty.StringVal(net.IP(net.CIDRMask(p.Bits(), 32)).String()), nil
		},
	})
}

func prefixArg(v cty.Value) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v.AsString())
	if err != nil {
		return p, function.NewArgErrorf(0, "%q is no network such as 10.10.0.0/16", v.AsString())
	}
	return p.Masked(), nil
}

func intArg(args []cty.Value, i int, name string) (int, error) {
	var n int
	if err := gocty.FromCtyValue(args[i], &n); err != nil {
		return 0, function.NewArgError(i, fmt.Errorf("%s is a whole number", name))
	}
	return n, nil
}

// hosts is how many addresses a network has.
func hosts(p netip.Prefix) *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
}

// add is the address n after a; the caller has made sure that there is one.
func add(a netip.Addr, n *big.Int) netip.Addr {
	sum := new(big.Int).SetBytes(a.AsSlice())
	sum.Add(sum, n)
	b := make([]byte, a.BitLen()/8)
	out, _ := netip.AddrFromSlice(sum.FillBytes(b))
	return out
}
