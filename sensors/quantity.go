package sensors

import (
	"math"
	"strconv"
)

// Quantity is what a number measures. Class and State follow the names of
// Home Assistant's sensor classes, which other consumers use too.
type Quantity struct {
	Name   string
	Unit   string
	Digits int     // decimals in a payload
	Class  string  // "temperature"; empty where there is none
	State  string  // "measurement", "total", "total_increasing"
	Min    float64 // nothing outside is physically possible
	Max    float64
}

const (
	measurement     = "measurement"
	totalIncreasing = "total_increasing"
)

var inf = math.Inf(1)

// quantities is the one list of names and units; drivers refer to it by name.
var quantities = map[string]Quantity{}

func init() {
	for _, q := range []Quantity{
		{"temperature", "°C", 2, "temperature", measurement, -273.15, 2000},
		{"humidity", "%", 1, "humidity", measurement, 0, 100},
		{"pressure", "hPa", 2, "atmospheric_pressure", measurement, 0, 10000},
		{"sea_level_pressure", "hPa", 2, "atmospheric_pressure", measurement, 0, 2000},
		{"dew_point", "°C", 2, "temperature", measurement, -273.15, 100},
		{"frost_point", "°C", 2, "temperature", measurement, -273.15, 100},
		{"heat_index", "°C", 1, "temperature", measurement, -100, 150},
		{"absolute_humidity", "g/m³", 2, "", measurement, 0, 600},
		{"vapour_pressure_deficit", "kPa", 3, "pressure", measurement, 0, 100},
		{"altitude", "m", 1, "distance", measurement, -1000, 100000},
		{"illuminance", "lx", 1, "illuminance", measurement, 0, 300000},
		{"uv_index", "", 1, "", measurement, 0, 30},
		{"co2", "ppm", 0, "carbon_dioxide", measurement, 0, 100000},
		{"eco2", "ppm", 0, "carbon_dioxide", measurement, 0, 100000},
		{"tvoc", "ppb", 0, "volatile_organic_compounds_parts", measurement, 0, 100000},
		{"aqi", "", 0, "aqi", measurement, 0, 500},
		{"gas_resistance", "Ω", 0, "", measurement, 0, 1e9},
		{"pm1", "µg/m³", 0, "pm1", measurement, 0, 65535},
		{"pm2_5", "µg/m³", 0, "pm25", measurement, 0, 65535},
		{"pm10", "µg/m³", 0, "pm10", measurement, 0, 65535},
		{"particles_0_3", "/dL", 0, "", measurement, 0, 65535},
		{"particles_0_5", "/dL", 0, "", measurement, 0, 65535},
		{"particles_1_0", "/dL", 0, "", measurement, 0, 65535},
		{"particles_2_5", "/dL", 0, "", measurement, 0, 65535},
		{"voltage", "V", 4, "voltage", measurement, -1e6, 1e6},
		{"shunt_voltage", "mV", 3, "voltage", measurement, -1e6, 1e6},
		{"current", "A", 4, "current", measurement, -1e6, 1e6},
		{"power", "W", 4, "power", measurement, -1e9, 1e9},
		{"energy", "kWh", 4, "energy", totalIncreasing, 0, inf},
		{"acceleration_x", "m/s²", 3, "", measurement, -2000, 2000},
		{"acceleration_y", "m/s²", 3, "", measurement, -2000, 2000},
		{"acceleration_z", "m/s²", 3, "", measurement, -2000, 2000},
		{"angular_velocity_x", "°/s", 2, "", measurement, -4000, 4000},
		{"angular_velocity_y", "°/s", 2, "", measurement, -4000, 4000},
		{"angular_velocity_z", "°/s", 2, "", measurement, -4000, 4000},
		{"magnetic_flux_x", "mT", 2, "", measurement, -1e4, 1e4},
		{"magnetic_flux_y", "mT", 2, "", measurement, -1e4, 1e4},
		{"magnetic_flux_z", "mT", 2, "", measurement, -1e4, 1e4},
		{"light_450", "µW/cm²", 2, "", measurement, 0, 1e6},
		{"light_500", "µW/cm²", 2, "", measurement, 0, 1e6},
		{"light_550", "µW/cm²", 2, "", measurement, 0, 1e6},
		{"light_570", "µW/cm²", 2, "", measurement, 0, 1e6},
		{"light_600", "µW/cm²", 2, "", measurement, 0, 1e6},
		{"light_650", "µW/cm²", 2, "", measurement, 0, 1e6},
		{"weight", "g", 2, "weight", measurement, -1e9, 1e9},
		{"raw", "", 0, "", measurement, -inf, inf},
		{"strikes", "", 0, "", totalIncreasing, 0, inf},
		{"lightning_distance", "km", 0, "distance", measurement, 0, 63},
		{"lightning_energy", "", 0, "", measurement, 0, 1<<21 - 1},
		{"touch", "", 0, "", measurement, 0, 1},
		{"distance", "m", 3, "distance", measurement, 0, 1e6},
		{"frequency", "Hz", 2, "frequency", measurement, 0, 1e9},
		{"flow", "L/min", 3, "volume_flow_rate", measurement, 0, 1e6},
		{"volume", "L", 3, "water", totalIncreasing, 0, inf},
		{"rotation", "rpm", 0, "", measurement, 0, 1e7},
		{"load", "", 2, "", measurement, 0, 1e6},
		{"memory_total", "B", 0, "data_size", measurement, 0, 1e15},
		{"memory_available", "B", 0, "data_size", measurement, 0, 1e15},
		{"disk_total", "B", 0, "data_size", measurement, 0, 1e18},
		{"disk_free", "B", 0, "data_size", measurement, 0, 1e18},
		{"card_written", "B", 0, "data_size", totalIncreasing, 0, inf},
		{"card_life_used", "%", 0, "", measurement, 0, 120},
		{"uptime", "s", 0, "duration", measurement, 0, inf},
		{"clock_synchronised", "", 0, "", measurement, 0, 1},
		{"under_voltage", "", 0, "", measurement, 0, 1},
		{"under_voltage_seen", "", 0, "", measurement, 0, 1},
		{"throttled", "", 0, "", measurement, 0, 1},
		{"throttled_seen", "", 0, "", measurement, 0, 1},
		{"frequency_capped", "", 0, "", measurement, 0, 1},
		{"temperature_limit", "", 0, "", measurement, 0, 1},
		{"count", "", 0, "", totalIncreasing, 0, inf},
		{"rate", "/min", 2, "", measurement, 0, 1e9},
	} {
		quantities[q.Name] = q
	}
}

// QuantityOf describes a quantity by name; one that nobody knows is a plain
// number. "voltage_2" is the third voltage of a part with several.
func QuantityOf(name string) Quantity {
	if q, ok := quantities[name]; ok {
		return q
	}
	for i := len(name) - 1; i > 0; i-- {
		if name[i] == '_' {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				if q, ok := quantities[name[:i]]; ok {
					q.Name = name
					return q
				}
			}
			break
		}
	}
	return Quantity{Name: name, Digits: 3, State: measurement, Min: -inf, Max: inf}
}

// Of makes a reading of a known quantity in its own unit.
func Of(quantity string, value float64) Reading {
	return Reading{Quantity: quantity, Unit: QuantityOf(quantity).Unit, Value: value}
}
