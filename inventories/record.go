package inventories

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
)

// record is a pair written down whole. Its secrets stand apart, by the path of
// their field: in the pair itself they are masked.
type record struct {
	Pair    *Pair             `json:"pair"`
	Secrets map[string]string `json:"secrets,omitempty"`
}

// Describe is all that a pair means, as JSON, with its secrets masked. Pairs that
// mean the same have the same description, whatever they were written like.
func (p *Pair) Describe() []byte {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		panic("inventories: describe a pair: " + err.Error())
	}
	return append(b, '\n')
}

// Record is all that a pair means with its secrets in the clear, for a file of
// mode 0600 on a node and nothing else. ReadRecord reads it.
func (p *Pair) Record() []byte {
	r := record{Pair: p, Secrets: map[string]string{}}
	eachSecret(reflect.ValueOf(p), "", func(path string, v reflect.Value) {
		if s := v.Interface().(Secret); !s.IsZero() {
			r.Secrets[path] = s.Reveal()
		}
	})
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic("inventories: record a pair: " + err.Error())
	}
	return append(b, '\n')
}

// ReadRecord reads what Record has written, of this version or an earlier one. A
// pair that does not obey the rules is an error.
func ReadRecord(text []byte) (*Pair, error) {
	var r record
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("read the record of a pair: %w", err)
	}
	if r.Pair == nil {
		return nil, fmt.Errorf("read the record of a pair: it holds none")
	}
	eachSecret(reflect.ValueOf(r.Pair), "", func(path string, v reflect.Value) {
		v.Set(reflect.ValueOf(NewSecret(r.Secrets[path])))
	})
	for _, x := range r.Pair.Problems() {
		if !x.Warning {
			return nil, fmt.Errorf("the record of a pair breaks a rule of this version: %s: %s", x.Path, x.Summary)
		}
	}
	return r.Pair, nil
}

var secretType = reflect.TypeFor[Secret]()

// eachSecret calls do for every secret below v, by its path, in order.
func eachSecret(v reflect.Value, path string, do func(string, reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachSecret(v.Elem(), path, do)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			eachSecret(v.Index(i), path+"["+strconv.Itoa(i)+"]", do)
		}
	case reflect.Struct:
		if v.Type() == secretType {
			do(path, v)
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				at := f.Name
				if path != "" {
					at = path + "." + f.Name
				}
				eachSecret(v.Field(i), at, do)
			}
		}
	}
}

// UnmarshalText makes no secret of what was masked: its value stands elsewhere.
func (s *Secret) UnmarshalText([]byte) error {
	*s = Secret{}
	return nil
}
