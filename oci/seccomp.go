package oci

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/internal/leanjson"
)

// standIn is a section linux.seccomp that no compiler of filters takes, so that
// nothing runs without a filter that overlooks [Bundle.Seccomp].
const standIn = "{}"

// CutSeccomp takes the section linux.seccomp out of the text of a configuration. It
// is most of what an engine writes, and need not be read where the filter that it
// stands for is known. section is nil when there is none; text is unchanged then.
// Neither is checked; together they are valid if both are.
func CutSeccomp(config []byte) (text, section []byte) {
	start, end, ok := leanjson.Find(config, "linux", "seccomp")
	if !ok || config[start] != '{' {
		return config, nil
	}
	return slices.Concat(config[:start], []byte(standIn), config[end:]), config[start:end]
}

// PasteSeccomp puts a section back into a configuration that it was cut from.
func PasteSeccomp(config, section []byte) []byte {
	if start, end, ok := leanjson.Find(config, "linux", "seccomp"); ok && section != nil {
		return slices.Concat(config[:start], section, config[end:])
	}
	return config
}

// DecodeSeccomp reads a section that was cut from a configuration.
//
// # Errors
//
// Not JSON or of a wrong type somewhere; the error names the field, such as
// linux.seccomp.defaultAction.
func DecodeSeccomp(section []byte) (*specs.LinuxSeccomp, error) {
	var spec specs.Spec
	if err := leanjson.Unmarshal(slices.Concat([]byte(`{"linux":{"seccomp":`), section, []byte("}}")), &spec); err != nil {
		return nil, err
	}
	return spec.Linux.Seccomp, nil
}
