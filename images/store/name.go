package store

import (
	"fmt"
	"strings"
)

// DefaultTag is the tag of a name that has none.
const DefaultTag = "latest"

// CheckName refuses what no image can be called, and adds the tag to a name that has none. A name is
// [REGISTRY[:PORT]/]PATH[:TAG], as in a registry (distribution specification, "Pulling manifests"): "app:1.0",
// "registry.example.org/team/app".
func CheckName(name string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("image name %.200q: %s: want a name such as app:1.0 or registry.example.org/team/app:1.0", name, why)
	}
	repository, tag := name, DefaultTag
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		repository, tag = name[:colon], name[colon+1:]
	}
	if len(repository) > 255 || len(tag) > 128 {
		return bad("too long")
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if tag == "" || strings.Trim(tag, letters+capitals+"_.-") != "" || strings.ContainsRune(".-", rune(tag[0])) {
		return bad(fmt.Sprintf("the tag %q has other characters than letters, digits and _.-", tag))
	}
	for i, part := range strings.Split(repository, "/") {
		allowed := letters + "_.-"
		if i == 0 && repository != part { // the registry, with a port, or an address of IPv6
			allowed += capitals + ":[]"
		}
		if part == "" || strings.Trim(part, allowed) != "" || strings.ContainsRune("._-:", rune(part[0])) || strings.ContainsRune("._-:", rune(part[len(part)-1])) {
			return bad(fmt.Sprintf("%q is not a part of a name, which has small letters, digits and _.- between them", part))
		}
	}
	if len(repository) == 64 && strings.Trim(repository, "0123456789abcdef") == "" {
		return bad("it could be taken for a digest")
	}
	return repository + ":" + tag, nil
}
