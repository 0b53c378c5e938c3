package discovery

import (
	"encoding/json"
	"regexp"
	"slices"
	"testing"
	"time"

	"gatewayd/sensors"
)

// units are what Home Assistant accepts for a device class, from the table of
// its sensor documentation, for the classes that our sensors use.
var units = map[string][]string{
	"temperature": {"°C", "°F", "K"}, "humidity": {"%"}, "atmospheric_pressure": {"hPa", "Pa", "kPa", "bar", "mbar", "mmHg", "inHg", "psi"},
	"absolute_humidity": {"g/m³", "mg/m³"}, "pressure": {"hPa", "Pa", "kPa", "bar", "mbar", "mmHg", "inHg", "psi"},
	"distance": {"m", "mm", "cm", "km", "in", "ft", "yd", "mi"}, "illuminance": {"lx"}, "carbon_dioxide": {"ppm"},
	"volatile_organic_compounds_parts": {"ppm", "ppb"}, "aqi": {""}, "pm1": {"µg/m³"}, "pm25": {"µg/m³"}, "pm10": {"µg/m³"},
	"voltage": {"V", "mV", "µV", "kV", "MV"}, "current": {"A", "mA"}, "power": {"W", "mW", "kW", "MW"}, "energy": {"kWh", "Wh", "J", "MJ", "MWh"},
	"weight": {"g", "kg", "mg", "µg", "oz", "lb", "st"}, "frequency": {"Hz", "kHz", "MHz", "GHz"}, "volume_flow_rate": {"L/min", "m³/h", "L/h", "L/s"},
	"water": {"L", "m³", "gal", "ft³"},
}

var (
	objectID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	entityID = regexp.MustCompile(`^(sensor|binary_sensor|switch)\.[a-z0-9_]+$`)
)

// validate holds a document, as it is on the wire, to what Home Assistant's
// MQTT discovery documentation demands of a consumer's input.
func validate(t *testing.T, object string, text []byte, unique map[string]bool) {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	if !objectID.MatchString(object) {
		t.Errorf("object id %q has characters outside [A-Za-z0-9_-]", object)
	}
	device, _ := d["device"].(map[string]any)
	if ids, _ := device["identifiers"].([]any); len(ids) == 0 {
		t.Errorf("%s: a device needs identifiers", object)
	}
	origin, _ := d["origin"].(map[string]any)
	if origin["name"] == nil {
		t.Errorf("%s: the origin needs a name", object)
	}
	components, _ := d["components"].(map[string]any)
	if len(components) == 0 {
		t.Errorf("%s: no components", object)
	}
	for key, v := range components {
		c := v.(map[string]any)
		id, _ := c["unique_id"].(string)
		if id == "" || unique[id] {
			t.Errorf("%s/%s: unique_id %q is empty or taken", object, key, id)
		}
		unique[id] = true
		if e, _ := c["default_entity_id"].(string); !entityID.MatchString(e) {
			t.Errorf("%s/%s: default_entity_id %q", object, key, e)
		}
		platform, _ := c["platform"].(string)
		topic, _ := c["state_topic"].(string)
		class, _ := c["device_class"].(string)
		unit, _ := c["unit_of_measurement"].(string)
		state, _ := c["state_class"].(string)
		if topic == "" {
			t.Errorf("%s/%s: no state_topic", object, key)
		}
		switch platform {
		case "sensor":
			if class != "" {
				if allowed, ok := units[class]; !ok || !slices.Contains(allowed, unit) {
					t.Errorf("%s/%s: unit %q does not go with device class %q", object, key, unit, class)
				}
			}
			if !slices.Contains([]string{"", "measurement", "total", "total_increasing"}, state) {
				t.Errorf("%s/%s: state class %q", object, key, state)
			}
		case "switch":
			if c["command_topic"] == nil {
				t.Errorf("%s/%s: a switch needs a command_topic", object, key)
			}
		case "binary_sensor":
			if c["payload_on"] == c["payload_off"] {
				t.Errorf("%s/%s: on and off are the same", object, key)
			}
		default:
			t.Errorf("%s/%s: platform %q", object, key, platform)
		}
	}
}

func entities() []sensors.Entity {
	all := []sensors.Entity{
		{Kind: "binary_sensor", Probe: "door", Topic: "hall/door", On: "on", Off: "off", QoS: 1, Retain: true},
		{Kind: "switch", Probe: "Lamp 1", Topic: "hall/lamp", Command: "hall/lamp/set", On: "on", Off: "off", QoS: 1, Retain: true},
	}
	for _, q := range []string{
		"temperature", "humidity", "pressure", "sea_level_pressure", "dew_point", "absolute_humidity", "vapour_pressure_deficit", "altitude",
		"illuminance", "uv_index", "co2", "eco2", "tvoc", "aqi", "gas_resistance", "pm1", "pm2_5", "pm10", "voltage", "shunt_voltage", "current", "power",
		"energy", "weight", "raw", "distance", "frequency", "flow", "volume", "rotation", "count", "rate", "voltage_2",
	} {
		all = append(all, sensors.Entity{Kind: "sensor", Probe: "room1", Quantity: sensors.QuantityOf(q), Part: "BME280", Topic: "room1/" + q,
			Availability: "gateway/gw/room1/availability", Every: 10 * time.Second, Retain: true, QoS: 1})
	}
	return all
}

func TestDocumentsAreValid(t *testing.T) {
	g := Gateway{ID: "gw Häll", Version: "1.0", Model: "Raspberry Pi 4"}
	docs := Documents(g, entities(), []Link{{"centre", "$SYS/broker/connection/gw-centre/state"}})
	if len(docs) != 4 {
		t.Errorf("%d documents, want the gateway, room1, door and lamp", len(docs))
	}
	unique := map[string]bool{}
	for id, d := range docs {
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		validate(t, id, text, unique)
	}
}

func TestDocumentOfASensor(t *testing.T) {
	docs := Documents(Gateway{ID: "gw"}, []sensors.Entity{{Kind: "sensor", Probe: "room1", Quantity: sensors.QuantityOf("temperature"), Part: "BME280",
		Topic: "room1/temperature", Availability: "gateway/gw/room1/availability", Every: 10 * time.Second, Format: sensors.FormatJSON, QoS: 1}}, nil)
	d := docs["gatewayd_gw_room1"]
	if d.Device.ViaDevice != "gatewayd_gw" || d.AvailabilityMode != "all" || len(d.Availability) != 2 || d.Availability[0].Topic != "gateway/gw/status" {
		t.Errorf("device %+v, availability %+v mode %q", d.Device, d.Availability, d.AvailabilityMode)
	}
	c := d.Components["temperature"]
	if c.Unit != "°C" || c.DeviceClass != "temperature" || c.StateClass != "measurement" || c.ValueTemplate != "{{ value_json.value }}" {
		t.Errorf("component %+v", c)
	}
	if c.ExpireAfter != 25 { // not retained: two periods and five seconds
		t.Errorf("expire_after %d, want 25", c.ExpireAfter)
	}
}

func TestSlugKeepsNamesApart(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"room1", "Room1", "room 1", "room_1", "röm1", "raum-1", "raum 1"} {
		s := slug(name)
		if other, ok := seen[s]; ok || !objectID.MatchString(s) {
			t.Errorf("slug(%q) = %q, taken by %q or not an id", name, s, other)
		}
		seen[s] = name
	}
}
