package systemd

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// AnnotationPrefix begins the annotations that set a property of the scope, as
// with runc and crun: "org.systemd.property.CollectMode": "'inactive-or-failed'".
const AnnotationPrefix = "org.systemd.property."

// Annotations returns the properties that annotations ask for, in the order of
// their names. The values are GVariant texts. A property such as
// TimeoutStopSec is turned into the one that D-Bus has, TimeoutStopUSec.
func Annotations(annotations map[string]string) ([]Property, error) {
	var list []Property
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ok := strings.CutPrefix(key, AnnotationPrefix)
		if !ok {
			continue
		}
		if !validProperty(name) {
			return nil, fmt.Errorf("annotations[%q]: %q cannot be a property of a systemd unit", key, name)
		}
		value, err := dbus.ParseVariant(annotations[key], dbus.Signature{})
		if err != nil {
			return nil, fmt.Errorf("annotations[%q]: %q is no GVariant text (strings have quotes of their own): %w", key, annotations[key], err)
		}
		if stem, ok := strings.CutSuffix(name, "Sec"); ok && !strings.HasSuffix(stem, "U") {
			name = stem + "USec"
			if value, err = microseconds(value); err != nil {
				return nil, fmt.Errorf("annotations[%q]: %w", key, err)
			}
		}
		list = append(list, Property{name, value})
	}
	return list, nil
}

// validProperty tells whether it looks like a property: letters, the first a capital.
func validProperty(name string) bool {
	letters := strings.IndexFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) < 0
	return len(name) >= 3 && letters && name[0] <= 'Z'
}

// microseconds turns a number of seconds into what USec properties hold.
func microseconds(v dbus.Variant) (dbus.Variant, error) {
	var seconds float64
	switch n := v.Value().(type) {
	case uint8:
		seconds = float64(n)
	case int16:
		seconds = float64(n)
	case uint16:
		seconds = float64(n)
	case int32:
		seconds = float64(n)
	case uint32:
		seconds = float64(n)
	case int64:
		seconds = float64(n)
	case uint64:
		seconds = float64(n)
	case float64:
		seconds = n
	default:
		return v, fmt.Errorf("%s is not a number of seconds", v)
	}
	if micro := seconds * 1e6; micro >= 0 && micro < math.MaxInt64 {
		return dbus.MakeVariant(uint64(micro)), nil
	}
	return v, fmt.Errorf("%s is not a number of seconds that fits", v)
}
