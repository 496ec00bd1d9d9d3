package systemd

import (
	"fmt"
	"strings"
	"testing"
)

func TestAnnotations(t *testing.T) {
	got, err := Annotations(map[string]string{
		"org.systemd.property.TimeoutStopSec": "uint64 5", "org.systemd.property.CPUQuotaPerSecUSec": "uint64 7", "org.systemd.property.CollectMode": "'inactive-or-failed'",
		"org.systemd.property.After": "['a.service', 'b.service']", "org.systemd.property.RuntimeMaxSec": "1.5", "org.systemd.property.SendSIGHUP": "true", "other": "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, p := range got {
		text = append(text, fmt.Sprintf("%s=%v(%s)", p.Name, p.Value.Value(), p.Value.Signature()))
	}
	const want = "After=[a.service b.service](as) CPUQuotaPerSecUSec=7(t) CollectMode=inactive-or-failed(s) RuntimeMaxUSec=1500000(t) SendSIGHUP=true(b) TimeoutStopUSec=5000000(t)"
	if strings.Join(text, " ") != want {
		t.Errorf("\n got %s\nwant %s", strings.Join(text, " "), want)
	}
	for key, value := range map[string]string{
		"": "1", "ab": "1", "lower": "1", "With.Dot": "1", "Slice": "system.slice", "TimeoutStopSec": "'5'", "RuntimeMaxSec": "-1", "JobTimeoutSec": "1e300", "Unclosed": "['a'",
	} {
		_, err := Annotations(map[string]string{AnnotationPrefix + key: value})
		if err == nil || !strings.Contains(err.Error(), `annotations["org.systemd.property.`+key+`"]`) {
			t.Errorf("%s=%s: error %v", key, value, err)
		}
	}
}
