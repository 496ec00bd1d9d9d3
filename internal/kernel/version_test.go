package kernel

import "testing"

func TestAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"6.15": true, "6.15.0": true, "6.15-rc1": true, "6.18.44": true, "7.0.1": true, "6.14.9": false, "6.12.117+deb12-cloud-amd64": false, "5.19.0": false,
		"": false, "6": false, "x.y": false, "10.1": true, "6.150.1": true, "6.9": false,
	} {
		if got := AtLeast(release, 6, 15); got != want {
			t.Errorf("%q: %v, want %v", release, got, want)
		}
	}
}
