package main

import "testing"

// TestOwnPlaces checks for whom winbox keeps its things outside of root's places.
func TestOwnPlaces(t *testing.T) {
	type env = map[string]string
	session := env{"XDG_RUNTIME_DIR": "/run/user/1"}
	for _, test := range []struct {
		name             string
		euid             int
		rootless, nested bool
		env              env
		want             bool
	}{
		{"user", 1, true, false, nil, true},
		{"user, --rootless=false", 1, false, false, session, false},
		{"root", 0, false, false, session, false},
		{"root, --rootless", 0, true, false, session, false},
		{"root of a user namespace", 0, false, true, nil, false},
		{"root of a user's namespace", 0, false, true, session, true},
		{"the same, by name", 0, false, true, env{"XDG_RUNTIME_DIR": "/run/user/1", "USER": "someone"}, true},
		{"the same, as root", 0, false, true, env{"XDG_RUNTIME_DIR": "/run/user/0", "USER": "root"}, false},
	} {
		lookup := func(name string) (string, bool) { value, ok := test.env[name]; return value, ok }
		if got := ownPlaces(test.euid, test.rootless, test.nested, lookup); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
