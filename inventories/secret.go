package inventories

import "fmt"

// Masked is what stands wherever a secret would be shown.
const Masked = "(sensitive)"

// Secret is a value that is never printed: every way of formatting or
// marshalling it yields Masked. Only Reveal gives it away. The zero Secret is
// no secret at all.
type Secret struct{ value string }

// NewSecret makes a secret of value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value itself. The caller puts it into a file of mode 0600
// and nowhere else.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == "" }

// Equal reports whether two secrets have the same value.
func (s Secret) Equal(o Secret) bool { return s.value == o.value }

// String returns Masked.
func (s Secret) String() string { return Masked }

// GoString returns Masked.
func (s Secret) GoString() string { return Masked }

// Format writes Masked for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Masked)) }

// MarshalText returns Masked; JSON uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Masked), nil }
