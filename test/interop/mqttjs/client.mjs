// Talks to a broker with MQTT.js: node client.mjs URL VERSION. Ends with 0 when everything was as it should be.
import mqtt from 'mqtt'
import assert from 'node:assert'

const [url, version] = process.argv.slice(2)
const protocolVersion = Number(version)
const base = `mqttjs/${version}/${url.split(':')[0]}`
setTimeout(() => { console.error('timed out'); process.exit(1) }, 20000).unref()

const connect = (options) => mqtt.connectAsync(url, { protocolVersion, reconnectPeriod: 0, ...options })
const id = (s) => `${base}-${s}`.replaceAll('/', '-')

// collector of one client: next() waits for the next message
const inbox = (client) => {
  const waiting = [], have = []
  client.on('message', (topic, payload, packet) => {
    const m = { topic, payload: payload.toString(), packet }
    waiting.length ? waiting.shift()(m) : have.push(m)
  })
  return { next: () => have.length ? Promise.resolve(have.shift()) : new Promise((r) => waiting.push(r)) }
}

const a = await connect({ clientId: id('a') })
const box = inbox(a)
await a.subscribeAsync({ [`${base}/x/#`]: { qos: 2 }, [`${base}/will`]: { qos: 1 } })
const b = await connect({ clientId: id('b') })
for (const qos of [0, 1, 2]) {
  for (let i = 0; i < 50; i++) {
    await b.publishAsync(`${base}/x/y`, `${qos}-${i}`, { qos, properties: protocolVersion === 5 ? { contentType: 'text/plain', userProperties: { k: 'v' } } : undefined })
  }
  for (let i = 0; i < 50; i++) {
    const m = await box.next()
    assert.equal(m.payload, `${qos}-${i}`)
    assert.equal(m.packet.qos, qos)
    if (protocolVersion === 5) {
      assert.equal(m.packet.properties.contentType, 'text/plain')
      assert.equal(m.packet.properties.userProperties.k, 'v')
    }
  }
}

await b.publishAsync(`${base}/kept`, 'kept', { qos: 1, retain: true })
await a.subscribeAsync(`${base}/kept`, { qos: 1 })
let m = await box.next()
assert.equal(m.payload, 'kept')
assert.equal(m.packet.retain, true)
await b.publishAsync(`${base}/kept`, '', { qos: 1, retain: true })
m = await box.next()
assert.equal(m.payload, '')

const w = await connect({ clientId: id('w'), will: { topic: `${base}/will`, payload: Buffer.from('gone'), qos: 1, retain: false } })
w.stream.destroy()
m = await box.next()
assert.equal(m.payload, 'gone')

const session = { clientId: id('s'), clean: false, properties: protocolVersion === 5 ? { sessionExpiryInterval: 60 } : undefined }
let s = await connect(session)
await s.subscribeAsync(`${base}/queue`, { qos: 2 })
await s.endAsync()
for (let i = 0; i < 30; i++) await b.publishAsync(`${base}/queue`, `${i}`, { qos: 2 })
s = mqtt.connect(url, { protocolVersion, reconnectPeriod: 0, ...session })
const late = inbox(s)
for (let i = 0; i < 30; i++) assert.equal((await late.next()).payload, `${i}`)

for (const c of [a, b, s]) await c.endAsync()
process.exit(0)
