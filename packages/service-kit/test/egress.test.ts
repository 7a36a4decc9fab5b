import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { Type } from '@sinclair/typebox'
import t, { type Test } from 'tap'
import { ConfigError, readConfig } from '../src/config.ts'
import { createEgress, EgressError, type EgressOptions } from '../src/egress.ts'
import { egressConfig, egressRule, egressRulesOf } from '../src/egress-config.ts'
import { createAddressCheck, urlFault } from '../src/egress-rules.ts'
import { BlockedAddress, createGuardedConnect, type Resolve } from '../src/guarded-connect.ts'
import { blockedUrlFlaws, inputUrlsOf } from '../src/input-urls.ts'

const secret = 'only this machine may read it'

/** A server on this machine, what it was asked, and an egress whose ports let it through. */
const open = async (t: Test, answer: RequestListener, more: Partial<EgressOptions> = {}) => {
  const asked: string[] = []
  const headersSeen: object[] = []
  const server = createServer((request, reply) => {
    asked.push(request.url ?? '')
    headersSeen.push(request.headers)
    answer(request, reply)
  })
  server.listen(0, '::')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const egress = createEgress({
    allowPrivateCidrs: [],
    portsAllow: [port],
    allowHttp: true,
    maxBytes: 100_000,
    totalMs: 5_000,
    ...more
  })
  t.teardown(async () => {
    egress.close()
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return { egress, port, asked, headersSeen, url: `http://127.0.0.1:${port}` }
}

const home = { allowPrivateCidrs: ['127.0.0.0/8'] }

/** The code with which a fetch was refused. Nothing that it says or shows may name an address or the network's own words. */
const refusal = async (t: Test, fetching: Promise<unknown>): Promise<string> => {
  const error = await fetching.then(
    () => undefined,
    (error: unknown) => error
  )
  if (!(error instanceof EgressError)) throw new Error(`not refused: ${inspect(error)}`)
  t.notMatch(error.message, /\d+\.\d+\.\d+|ECONN|ENOTFOUND|UND_ERR|::/, error.message)
  return error.code
}

const answering =
  (addresses: string[]): Resolve =>
  (_, done) =>
    done(
      null,
      addresses.map(address => ({ address, family: address.includes(':') ? 6 : 4 }))
    )

t.test('no spelling of an address of this machine or network is called', async t => {
  const { egress, port, asked } = await open(t, (_, reply) => reply.end(secret))
  const hosts = [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.1',
    '017700000001',
    '①②⑦.0.0.1',
    '127.0.0.1.',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::127.0.0.1]',
    '[::1]',
    '[::]',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    '[fe80::1]',
    '[fd00:ec2::254]',
    '0.0.0.0',
    '0',
    '169.254.169.254',
    '168.63.129.16',
    '100.100.100.200',
    '10.0.0.1',
    '172.16.0.1',
    '192.168.1.1',
    '100.64.0.1',
    '224.0.0.1',
    '255.255.255.255'
  ]
  for (const host of hosts) {
    t.equal(await refusal(t, egress.fetch(`http://${host}:${port}/`)), 'blocked', host)
  }
  const byName = await refusal(t, egress.fetch(`http://localhost:${port}/`))
  t.ok(
    byName === 'blocked' || byName === 'unreachable',
    'localhost, which a machine without a hosts file does not know'
  )
  t.same(asked, [], 'the server was never asked')
})

t.test('every answer of the name service is checked, and the peer too', async t => {
  for (const addresses of [['127.0.0.1'], ['8.8.8.8', '127.0.0.1'], ['::ffff:10.1.2.3'], ['fd12::1']]) {
    const { egress, port, asked } = await open(t, (_, reply) => reply.end(secret), { resolve: answering(addresses) })
    t.equal(await refusal(t, egress.fetch(`http://pictures.example:${port}/`)), 'blocked', addresses.join())
    t.same(asked, [])
  }
  const { egress, port } = await open(t, (_, reply) => reply.end(secret), { resolve: answering([]) })
  t.equal(await refusal(t, egress.fetch(`http://pictures.example:${port}/`)), 'unreachable')

  const checked: string[] = []
  const onlyBefore = (address: string) => checked.push(address) === 1
  const connect = createGuardedConnect(onlyBefore, { connectMs: 1_000 })
  const options = { hostname: '127.0.0.1', port: String(port), protocol: 'http:' }
  const outcome = await new Promise(resolve => connect(options, (error, socket) => resolve(error ?? socket)))
  t.ok(outcome instanceof BlockedAddress, 'connected, but not to what was checked')
  t.same(checked, ['127.0.0.1', '127.0.0.1'])
})

t.test('a URL is refused for its scheme, its user and its port before anything is looked up', async t => {
  const resolve: Resolve = () => t.fail('looked up')
  const rules = { allowPrivateCidrs: [], portsAllow: [80, 443], allowHttp: false, maxBytes: 1, resolve }
  const egress = createEgress(rules)
  const urls = {
    'http://pictures.example/': 'must start with https://',
    'ftp://pictures.example/': 'must start with https://',
    'file:///etc/passwd': 'must start with https://',
    'gopher://127.0.0.1:6379/_INFO': 'must start with https://',
    'https://user:pass@pictures.example/': 'must not hold a user name or password',
    'https://8.8.8.8@127.0.0.1/': 'must not hold a user name or password',
    'https://pictures.example:6379/': 'must use one of the ports 80, 443',
    'https://127.0.0.1/': 'must not lead to a private address',
    'https://[::1]/': 'must not lead to a private address',
    'https://': 'is not a URL'
  }
  for (const [url, fault] of Object.entries(urls)) {
    t.equal(urlFault(url, rules), fault, url)
    t.equal(await refusal(t, egress.fetch(url)), 'blocked', url)
  }
  t.equal(urlFault('https://pictures.example/a.png?x=1#y', rules), undefined)
  t.equal(urlFault('https://pictures.example:80/', rules), undefined)
})

t.test('what is allowed is fetched whole, with nothing of the caller sent along', async t => {
  const { egress, url, headersSeen } = await open(
    t,
    (_, reply) => reply.writeHead(200, { 'content-type': 'image/png' }).end('a picture'),
    home
  )
  const { bytes, mediaType, url: found } = await egress.fetch(`${url}/a%20b.png?x=1#part`)
  t.same([bytes.toString(), mediaType, found], ['a picture', 'image/png', `${url}/a%20b.png?x=1#part`])
  t.same(Object.keys(headersSeen[0]!).sort(), ['accept', 'accept-encoding', 'connection', 'host', 'user-agent'])
  const named = url.replace('127.0.0.1', 'localhost')
  const byName = await open(t, (_, reply) => reply.end('by name'), {
    ...home,
    portsAllow: [Number(new URL(url).port)],
    resolve: answering(['127.0.0.1'])
  })
  t.equal((await byName.egress.fetch(named)).bytes.toString(), 'a picture', 'a name that leads to an allowed address')
})

t.test('redirects are followed three times, and each is checked as the first', async t => {
  const hops = (t: Test, location: (path: string) => string) =>
    open(
      t,
      ({ url = '' }, reply) => {
        if (url.endsWith('file')) reply.end('there')
        else reply.writeHead(302, { location: location(url) }).end('elsewhere')
      },
      home
    )
  const three = await hops(t, path => (path === '/aaa' ? '/file' : `${path}a`))
  t.equal((await three.egress.fetch(`${three.url}/a`)).bytes.toString(), 'there')
  t.same(three.asked, ['/a', '/aa', '/aaa', '/file'])
  const loop = await hops(t, path => path)
  t.equal(await refusal(t, loop.egress.fetch(`${loop.url}/`)), 'not-ok')
  t.equal(loop.asked.length, 4)
  const targets = [
    'http://10.0.0.1/',
    'http://169.254.169.254/latest/meta-data/',
    `http://[::1]:${three.port}/file`,
    'file:///etc/passwd',
    'http://user:pass@127.0.0.1/'
  ]
  for (const target of targets) {
    const away = await hops(t, () => target)
    t.equal(await refusal(t, away.egress.fetch(`${away.url}/`)), 'blocked', target)
    t.same(away.asked, ['/'])
  }
  const nowhere = await open(t, (_, reply) => reply.writeHead(302).end(), home)
  t.equal(await refusal(t, nowhere.egress.fetch(nowhere.url)), 'not-ok')
})

t.test('no more bytes and no more time are spent than allowed, whatever the server says', async t => {
  const big = await open(t, (_, reply) => reply.end(Buffer.alloc(100_001)), home)
  t.equal(await refusal(t, big.egress.fetch(big.url)), 'too-large', 'by its own account')
  const endless = await open(
    t,
    (_, reply) => {
      reply.on('error', () => {})
      const more = () => void (reply.destroyed || reply.write(Buffer.alloc(4_096), more))
      more()
    },
    home
  )
  t.equal(await refusal(t, endless.egress.fetch(endless.url)), 'too-large', 'as counted')
  t.equal(await refusal(t, endless.egress.fetch(endless.url, { maxBytes: 10 })), 'too-large', 'or less, as told')
  const exact = await open(t, (_, reply) => reply.end(Buffer.alloc(100_000)), home)
  t.equal((await exact.egress.fetch(exact.url)).bytes.length, 100_000)

  const slow = { ...home, totalMs: 300 }
  const silent = await open(t, () => {}, slow)
  t.equal(await refusal(t, silent.egress.fetch(silent.url)), 'unreachable', 'no answer')
  const drip = (
    _: unknown,
    reply: { write: (text: string) => void; once: (event: 'close', end: () => void) => void }
  ) => {
    const timer = setInterval(() => reply.write('.'), 20)
    reply.once('close', () => clearInterval(timer))
  }
  const dripping = await open(t, drip, slow)
  t.equal(await refusal(t, dripping.egress.fetch(dripping.url)), 'unreachable', 'drop by drop')
})

t.test('an answer that is not the file is none', async t => {
  const paths: Record<string, RequestListener> = {
    '/404': (_, reply) => reply.writeHead(404).end('not here'),
    '/500': (_, reply) => reply.writeHead(500).end(),
    '/206': (_, reply) => reply.writeHead(206).end('half'),
    '/gzip': (_, reply) => reply.writeHead(200, { 'content-encoding': 'gzip' }).end('zipped')
  }
  const { egress, url } = await open(t, (request, reply) => paths[request.url ?? '']?.(request, reply), home)
  for (const path of Object.keys(paths)) t.equal(await refusal(t, egress.fetch(url + path)), 'not-ok', path)
  const cut = await open(
    t,
    (_, reply) => reply.writeHead(200, { 'content-length': '100' }).write('half', () => reply.destroy()),
    home
  )
  t.equal(await refusal(t, cut.egress.fetch(cut.url)), 'unreachable', 'cut off')
  const gone = createEgress({ ...home, portsAllow: [1], allowHttp: true, maxBytes: 10 })
  t.equal(await refusal(t, gone.fetch('http://127.0.0.1:1/')), 'unreachable', 'nobody listens')
})

t.test('a fetch can be given up by its caller, and by closing', async t => {
  const { egress, url, asked } = await open(t, () => {}, home)
  const reason = new Error('not wanted any more')
  const abort = new AbortController()
  const fetching = egress.fetch(url, { signal: abort.signal })
  while (asked.length === 0) await new Promise(resolve => setImmediate(resolve))
  abort.abort(reason)
  await t.rejects(fetching, reason)
  await t.rejects(egress.fetch(url, { signal: AbortSignal.abort(reason) }), reason)
  const another = egress.fetch(url)
  egress.close()
  t.equal(await refusal(t, another), 'unreachable')
})

t.test('the configuration says what may be called', async t => {
  const schema = Type.Object(egressConfig)
  const read = (env: Record<string, string>) => readConfig(schema, env, [egressRule])
  t.match(read({}), { INPUT_MAX_BYTES: 67_108_864 })
  t.same(egressRulesOf(read({})), { allowPrivateCidrs: [], portsAllow: [80, 443], allowHttp: true })
  const env = {
    EGRESS_ALLOW_PRIVATE_CIDRS: '127.0.0.0/8, fd00::/8',
    EGRESS_PORTS_ALLOW: '443, 9000',
    EGRESS_ALLOW_HTTP: 'no'
  }
  const rules = egressRulesOf(read(env))
  t.same(rules, { allowPrivateCidrs: ['127.0.0.0/8', 'fd00::/8'], portsAllow: [443, 9000], allowHttp: false })
  const wrong = { EGRESS_ALLOW_PRIVATE_CIDRS: '10.0.0.0', EGRESS_PORTS_ALLOW: '0' }
  t.throws(() => read(wrong), ConfigError)
  t.throws(() => read({ EGRESS_PORTS_ALLOW: 'http' }), ConfigError)
  const isAllowed = createAddressCheck(rules.allowPrivateCidrs)
  for (const address of ['8.8.8.8', '127.8.8.8', '::ffff:127.0.0.1', 'fd00::1']) t.ok(isAllowed(address), address)
  for (const address of ['10.0.0.1', '::1', 'fd00:ec2::254', '', 'name']) t.notOk(isAllowed(address), address)
  t.notOk(createAddressCheck(['0.0.0.0/0'])('169.254.169.254'), "a cloud's own address, never")
})

t.test('the URLs of a workflow are known, and refused, without the network', async t => {
  const graphNode = (id: string, classType: string, inputs: Record<string, unknown>) => ({
    id,
    classType,
    title: undefined,
    inputs: Object.fromEntries(
      Object.entries(inputs).map(([name, value]) => [
        name,
        Array.isArray(value)
          ? { kind: 'link' as const, graphNode: String(value[0]), slot: 0 }
          : { kind: 'literal' as const, value }
      ])
    )
  })
  const nodes = [
    graphNode('1', 'LoadImage', { image: 'HTTPS://pictures.example/a.png' }),
    graphNode('2/x', 'LoadImage', { image: 'http://10.0.0.1/a.png' }),
    graphNode('3', 'LoadImage', { image: 'example.png', note: 'https://127.0.0.1/' }),
    graphNode('4', 'LoadImage', { image: 'ftp://pictures.example/' }),
    graphNode('9', 'SaveImage', { a: ['1', 0], b: ['2/x', 0], c: ['3', 0], filename_prefix: 'https://127.0.0.1/' })
  ]
  const workflow: Workflow = { graphNodes: new Map(nodes.map(node => [node.id, node])) }
  const deps = {
    outputs: ['9'],
    isUpload: (classType: string, input: string) => classType === 'LoadImage' && input === 'image'
  }
  const rules = { allowPrivateCidrs: [], portsAllow: [80, 443], allowHttp: true }
  t.same(
    inputUrlsOf(workflow, deps).sort((one, other) => (one.graphNode < other.graphNode ? -1 : 1)),
    [
      { graphNode: '1', input: 'image', url: 'HTTPS://pictures.example/a.png' },
      { graphNode: '2/x', input: 'image', url: 'http://10.0.0.1/a.png' }
    ]
  )
  t.same(blockedUrlFlaws(workflow, deps, rules), [
    {
      pointer: '/prompt/2~1x/inputs/image',
      code: 'input-url-blocked',
      detail: 'the input URL must not lead to a private address'
    }
  ])
  const many = Array.from({ length: 65 }, (_, at) =>
    graphNode(`${at}`, 'LoadImage', { image: `https://pictures.example/${at}` })
  )
  const crowd: Workflow = { graphNodes: new Map(many.map(node => [node.id, node])) }
  t.match(blockedUrlFlaws(crowd, { ...deps, outputs: [...crowd.graphNodes.keys()] }, rules), [
    { pointer: '/prompt', code: 'too-many-input-urls' }
  ])
})

t.test(
  'a message is posted once, with its bytes and headers; a redirect is its answer, and no body is waited for',
  async t => {
    const bodies: string[] = []
    const { egress, url, headersSeen, asked } = await open(
      t,
      async (request, reply) => {
        let text = ''
        for await (const chunk of request) text += chunk
        bodies.push(text)
        if (request.url === '/moved') return void reply.writeHead(302, { location: '/secret' }).end()
        if (request.url === '/busy') return void reply.writeHead(429, { 'retry-after': '7' }).end()
        reply.writeHead(200).write('the first part of an endless answer')
      },
      home
    )
    const message = { headers: { 'content-type': 'application/json', 'webhook-id': 'm1' }, body: '{"a":"\u00e9"}' }
    t.same(await egress.post(`${url}/endless`, message), { status: 200, retryAfter: undefined })
    t.same(await egress.post(`${url}/moved`, message), { status: 302, retryAfter: undefined })
    t.same(await egress.post(`${url}/busy`, message), { status: 429, retryAfter: '7' })
    t.same(asked, ['/endless', '/moved', '/busy'])
    t.same(bodies, [message.body, message.body, message.body])
    t.match(headersSeen[0], { 'webhook-id': 'm1', 'content-length': '10', 'user-agent': 'comfy-balancer' })
    egress.close()
    t.equal(await refusal(t, egress.post(url, message)), 'unreachable')
  }
)

t.test('a message reaches no private address, whatever its name resolved to when it was accepted', async t => {
  const rebinding = answering(['93.184.216.34', '127.0.0.1'])
  const { egress, port, asked } = await open(t, (_, reply) => reply.end(secret), { resolve: rebinding })
  const message = { headers: {}, body: '{}' }
  for (const host of ['127.0.0.1', '[::1]', '2130706433', 'rebound.example']) {
    t.equal(await refusal(t, egress.post(`http://${host}:${port}/`, message)), 'blocked', host)
  }
  t.same(asked, [])
})
