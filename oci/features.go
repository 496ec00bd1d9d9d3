package oci

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// minVersion is the oldest version of the runtime spec that is understood.
const minVersion = "1.0.0"

// What winbox tells of itself in the annotations of its features: its version,
// and the annotations of config.json that it reads, separated by commas.
const (
	annotationVersion = "io.winbox.version"
	annotationKnown   = "io.winbox.annotations"
)

// hookNames are the kinds of hooks, in the order in which they run.
var hookNames = []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}

// NewFeatures makes the Features structure (runtime-spec, features.md) from what
// the packages that carry a configuration out know of it. version is that of
// winbox, annotations are those of config.json that it reads.
//
// All of those may be unsafe to take from an image: the specification has that
// word for every annotation that changes what the runtime does.
func NewFeatures(version string, annotations, mountOptions []string, linux *features.Linux) *features.Features {
	return &features.Features{
		OCIVersionMin:                      minVersion,
		OCIVersionMax:                      specs.Version,
		Hooks:                              hookNames,
		MountOptions:                       mountOptions,
		Linux:                              linux,
		Annotations:                        map[string]string{annotationVersion: version, annotationKnown: strings.Join(annotations, ",")},
		PotentiallyUnsafeConfigAnnotations: annotations,
	}
}
