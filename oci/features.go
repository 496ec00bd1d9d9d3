package oci

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// minVersion is the oldest version of the runtime spec that is understood.
const minVersion = "1.0.0"

// annotationVersion tells the version of winbox in its features.
const annotationVersion = "io.winbox.version"

// hookNames are the kinds of hooks, in the order in which they run.
var hookNames = []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}

// NewFeatures makes the Features structure (runtime-spec, features.md) from what
// the packages that carry a configuration out know of it. version is that of winbox.
//
// potentiallyUnsafeConfigAnnotations is absent, since no annotation of
// config.json changes anything yet.
func NewFeatures(version string, mountOptions []string, linux *features.Linux) *features.Features {
	return &features.Features{
		OCIVersionMin: minVersion,
		OCIVersionMax: specs.Version,
		Hooks:         hookNames,
		MountOptions:  mountOptions,
		Linux:         linux,
		Annotations:   map[string]string{annotationVersion: version},
	}
}
