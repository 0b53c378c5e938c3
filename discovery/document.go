package discovery

import (
	"fmt"
	"strings"
	"time"

	"gatewayd/sensors"
)

// Gateway is what Home Assistant shows of the gateway itself.
type Gateway struct {
	ID       string // as in gateway/<id>/status
	Version  string
	Model    string // of the board
	Serial   string
	Firmware string // kernel; shown as hardware version
	URL      string // of its own pages; empty: none
}

// Link is a connection to another broker, announced as a diagnostic.
type Link struct {
	Name  string
	Topic string // 1 or 0
}

// Document is one discovery message. Field names are those of Home Assistant's
// MQTT documentation, spelled out rather than abbreviated.
type Document struct {
	Device           Device               `json:"device"`
	Origin           Origin               `json:"origin"`
	Components       map[string]Component `json:"components"`
	Availability     []Availability       `json:"availability,omitempty"`
	AvailabilityMode string               `json:"availability_mode,omitempty"`
	QoS              byte                 `json:"qos"`
}

// Device describes one device.
type Device struct {
	Identifiers  []string `json:"identifiers"`
	Name         string   `json:"name"`
	Manufacturer string   `json:"manufacturer,omitempty"`
	Model        string   `json:"model,omitempty"`
	SerialNumber string   `json:"serial_number,omitempty"`
	Software     string   `json:"sw_version,omitempty"`
	Hardware     string   `json:"hw_version,omitempty"`
	URL          string   `json:"configuration_url,omitempty"`
	ViaDevice    string   `json:"via_device,omitempty"`
}

// Origin says who wrote the document.
type Origin struct {
	Name     string `json:"name"`
	Software string `json:"sw_version,omitempty"`
}

// Availability is a topic with online and offline, the default payloads.
type Availability struct {
	Topic string `json:"topic"`
}

// Component is one entity. One that has only a platform takes the entity back.
type Component struct {
	Platform       string `json:"platform"`
	UniqueID       string `json:"unique_id,omitempty"`
	EntityID       string `json:"default_entity_id,omitempty"`
	Name           string `json:"name,omitempty"`
	StateTopic     string `json:"state_topic,omitempty"`
	CommandTopic   string `json:"command_topic,omitempty"`
	ValueTemplate  string `json:"value_template,omitempty"`
	DeviceClass    string `json:"device_class,omitempty"`
	StateClass     string `json:"state_class,omitempty"`
	Unit           string `json:"unit_of_measurement,omitempty"`
	Precision      *int   `json:"suggested_display_precision,omitempty"`
	ExpireAfter    int    `json:"expire_after,omitempty"` // seconds
	PayloadOn      string `json:"payload_on,omitempty"`
	PayloadOff     string `json:"payload_off,omitempty"`
	StateOn        string `json:"state_on,omitempty"`
	StateOff       string `json:"state_off,omitempty"`
	EntityCategory string `json:"entity_category,omitempty"`
}

// originName marks the documents that are ours.
const originName = "gatewayd"

// Documents returns the documents by object id.
func Documents(g Gateway, entities []sensors.Entity, links []Link) map[string]Document {
	root := slug(originName + "_" + g.ID)
	status := Availability{"gateway/" + g.ID + "/status"}
	origin := Origin{originName, g.Version}
	gateway := Document{
		Device: Device{Identifiers: []string{root}, Name: g.ID, Manufacturer: originName, Model: g.Model,
			SerialNumber: g.Serial, Software: g.Version, Hardware: g.Firmware, URL: g.URL},
		Origin: origin, Components: map[string]Component{}, QoS: 1,
	}
	// The gateway's own state is not subject to its availability: it says so.
	gateway.Components["status"] = Component{Platform: "binary_sensor", UniqueID: root + "_status", Name: "Status",
		EntityID: "binary_sensor." + root + "_status", StateTopic: status.Topic, PayloadOn: "online", PayloadOff: "offline",
		DeviceClass: "connectivity", EntityCategory: "diagnostic"}
	for _, l := range links {
		key := "bridge_" + slug(l.Name)
		gateway.Components[key] = Component{Platform: "binary_sensor", UniqueID: root + "_" + key, Name: "Bridge " + l.Name,
			EntityID: "binary_sensor." + root + "_" + key, StateTopic: l.Topic, PayloadOn: "1", PayloadOff: "0",
			DeviceClass: "connectivity", EntityCategory: "diagnostic"}
	}
	all := map[string]Document{}
	for _, e := range entities {
		object := root + "_" + slug(e.Probe)
		key := e.Kind
		if e.Quantity.Name != "" {
			key = slug(e.Quantity.Name)
		}
		d, ok := all[object]
		if !ok {
			d = Document{
				Device: Device{Identifiers: []string{object}, Name: e.Probe, Model: e.Part, Software: g.Version, ViaDevice: root},
				Origin: origin, Components: map[string]Component{}, QoS: e.QoS, Availability: []Availability{status}, AvailabilityMode: "all",
			}
			if e.Availability != "" && e.Availability != status.Topic {
				d.Availability = append(d.Availability, Availability{e.Availability})
			}
		}
		d.Components[key] = component(e, object+"_"+key)
		all[object] = d
	}
	all[root] = gateway
	return all
}

// component describes one entity of a sensor or a line.
func component(e sensors.Entity, id string) Component {
	c := Component{Platform: e.Kind, UniqueID: id, EntityID: e.Kind + "." + id, StateTopic: e.Topic}
	switch e.Kind {
	case "sensor":
		c.Name = title(e.Quantity.Name)
		c.DeviceClass, c.StateClass, c.Unit = e.Quantity.Class, e.Quantity.State, e.Quantity.Unit
		digits := e.Quantity.Digits
		c.Precision = &digits
		if e.Every > 0 && !e.Retain {
			// A retained value is old at once for a Home Assistant that has just started.
			c.ExpireAfter = int((2*e.Every + 5*time.Second + time.Second - 1) / time.Second)
		}
		if e.Format == sensors.FormatJSON {
			c.ValueTemplate = "{{ value_json.value }}"
		}
	default:
		c.Name = title(e.Probe)
		c.CommandTopic, c.PayloadOn, c.PayloadOff = e.Command, e.On, e.Off
		if e.Kind == "switch" {
			c.StateOn, c.StateOff = e.On, e.Off
		}
		if e.Format == sensors.FormatJSON {
			c.ValueTemplate = "{{ value_json.state }}"
		}
	}
	return c
}

// title makes "sea_level_pressure" "Sea level pressure".
func title(name string) string {
	name = strings.ReplaceAll(name, "_", " ")
	if name == "" {
		return ""
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// slug reduces a name to what an object id may hold: letters, digits and
// underscores. Different names stay different: what is lost is hashed.
func slug(name string) string {
	var b strings.Builder
	lost := false
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			b.WriteRune(r)
		case r >= 'A' && r <= 'Z':
			b.WriteRune(r + 'a' - 'A')
			lost = true
		default:
			b.WriteByte('_')
			lost = true
		}
	}
	if !lost {
		return name
	}
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return fmt.Sprintf("%s_%04x", b.String(), h&0xffff)
}
