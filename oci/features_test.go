package oci

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestHookNames compares the names with the fields of the runtime spec.
func TestHookNames(t *testing.T) {
	var want []string
	for i := range reflect.TypeFor[specs.Hooks]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[specs.Hooks]().Field(i).Tag.Get("json"), ",")
		want = append(want, name)
	}
	if got := slices.Sorted(slices.Values(hookNames)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("hooks %v, the specification has %v", hookNames, want)
	}
}

// TestFeaturesVersions checks that configurations of both versions are accepted.
func TestFeaturesVersions(t *testing.T) {
	f := NewFeatures("1", nil, nil, nil)
	for _, version := range []string{f.OCIVersionMin, f.OCIVersionMax} {
		spec := NewSpec()
		spec.Version = version
		if err := check(spec); err != nil {
			t.Error(err)
		}
	}
}
