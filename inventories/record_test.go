package inventories_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"fwprov/inventories"
	"fwprov/inventories/sample"
)

func TestRecord(t *testing.T) {
	for _, form := range []inventories.VRRPForm{inventories.Single, inventories.PerVLAN} {
		p := whole(form)
		text := p.Record()
		got, err := inventories.ReadRecord(text)
		if err != nil {
			t.Fatalf("%s: %v\n%s", form, err, text)
		}
		if !reflect.DeepEqual(p, got) || !got.VRRP.Password.Equal(p.VRRP.Password) {
			t.Errorf("%s: a record is read as\n%s", form, got.Describe())
		}
		if !bytes.Equal(text, got.Record()) || !bytes.Equal(p.Describe(), got.Describe()) {
			t.Errorf("%s: the same pair is written down differently", form)
		}
		if strings.Contains(string(p.Describe()), "SOMEPASS") {
			t.Errorf("%s: a description shows a secret", form)
		}
	}
}

// TestEverySecretIsRecorded finds the secrets of the model by their type.
func TestEverySecretIsRecorded(t *testing.T) {
	p := whole(inventories.PerVLAN)
	n := 0
	for _, l := range leaves(reflect.ValueOf(p).Elem(), "pair") {
		if l.typ() == reflect.TypeFor[inventories.Secret]() {
			n++
			l.set(inventories.NewSecret("Xq7mZr2k"))
		}
	}
	if got := strings.Count(string(p.Record()), "Xq7mZr2k"); n == 0 || got != n {
		t.Errorf("%d of %d secrets are in the record", got, n)
	}
}

func TestReadRecordRefuses(t *testing.T) {
	p := whole(inventories.Single)
	p.Nodes = p.Nodes[:1]
	for text, want := range map[string]string{
		"":                 "read the record",
		"{}":               "holds none",
		"{\"pair\": {}}":   "breaks a rule",
		"[1]":              "read the record",
		string(p.Record()): "breaks a rule of this version: node",
	} {
		if _, err := inventories.ReadRecord([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadRecord(f *testing.F) {
	f.Add([]byte("{}"))
	f.Add(sample.Pair(0, 1, inventories.Single).Record())
	f.Add(sample.Pair(1, 0, inventories.PerVLAN).Record())
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := inventories.ReadRecord(text)
		if err != nil {
			return
		}
		again, err := inventories.ReadRecord(p.Record())
		if err != nil || !bytes.Equal(again.Record(), p.Record()) {
			t.Errorf("not read as written: %v", err)
		}
	})
}
