package sparkplug

import "encoding/json"

// hostState is what the primary host says of itself on
// spBv1.0/STATE/<host id>.
type hostState struct {
	online bool
	at     int64 // ms since 1970 of the state that holds
	known  bool
}

// update takes a STATE message and reports whether it counts: one that is
// older than what is known is a will that was overtaken
// [tck-id-message-flow-edge-node-birth-publish-phid-offline].
func (h *hostState) update(payload []byte) bool {
	var s struct {
		Online    *bool  `json:"online"`
		Timestamp *int64 `json:"timestamp"`
	}
	if json.Unmarshal(payload, &s) != nil || s.Online == nil || s.Timestamp == nil {
		return false
	}
	if h.known && *s.Timestamp < h.at {
		return false
	}
	h.online, h.at, h.known = *s.Online, *s.Timestamp, true
	return true
}
