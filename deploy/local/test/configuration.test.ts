/** Every variable of both services: that it is described, that a wrong value is refused, and how Redis and its password are reached. */
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { configurationTable, readSchemas, type Schema, tableFile, type Variable } from '../src/configuration-table.ts'
import { freePort } from '../src/port.ts'
import { startProcess } from '../src/processes.ts'
import { findOnPath } from '../src/redis-install.ts'
import { root } from '../src/root.ts'

const schemas = await readSchemas()
const services = Object.entries(schemas) as ['comfy-balancer' | 'comfy-service', Schema][]
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

t.test('the table of variables is current, and each variable says what it is for', async t => {
  t.equal(readFileSync(tableFile, 'utf8'), await configurationTable(), 'npm run configuration brings it up to date')
  for (const [service, { properties }] of services)
    for (const [name, { description = '' }] of Object.entries(properties)) t.ok(description, `${service}: ${name}`)
})

t.test('.env.example names what compose files take and what services know, and nothing else', t => {
  const named = new Set([...read('.env.example').matchAll(/^#? ?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name!))
  const composed = ['docker-compose.yml', 'deploy/compose.production.yml'].flatMap(file =>
    [...read(file).matchAll(/(?<!\$)\$\{([A-Z0-9_]+)/g)].map(([, name]) => name!)
  )
  t.same(
    composed.filter(name => !named.has(name)),
    [],
    'every variable of a compose file is there'
  )
  const known = new Set([...composed, ...services.flatMap(([, { properties }]) => Object.keys(properties))])
  t.same(
    [...named].filter(name => !known.has(name)),
    [],
    'no other is'
  )
  t.doesNotThrow(() => parse(read('docker-compose.yml')))
  t.end()
})

/** A value that a variable must refuse; secrets of any form come from a file that is not there. */
const wrongValue = (name: string, variable: Variable): [string, string] => {
  const { type, pattern, secret, mustBe } = variable
  if (secret) return [`${name}_FILE`, '/does/not/exist']
  if (mustBe === 'folder' || mustBe === 'file') return [name, '/does/not/exist']
  if (type !== 'string') return [name, 'perhaps']
  const wrong = ['not right', '@@', 'a=b=c, =', '999.1.2.3/64'].find(
    text => !pattern || !new RegExp(pattern).test(text)
  )
  return [name, wrong ?? 'none']
}

const startOf = (service: string, env: Readonly<Record<string, string>>) =>
  promisify(execFile)(process.execPath, [join(root, 'services', service, 'dist/src/main.js')], {
    env: { PATH: process.env.PATH, ...env },
    timeout: 60_000
  }).then(
    () => ({ code: 0, stderr: '' }),
    ({ code, stderr }: { code: number; stderr: string }) => ({ code, stderr })
  )

/** Of rules over the text of a list. */
const wrongLists: Readonly<Record<string, string>> = {
  NODE_LABELS: 'zone',
  EGRESS_ALLOW_PRIVATE_CIDRS: 'everywhere',
  S3_ENDPOINT: 'ftp://minio',
  S3_PUBLIC_ENDPOINT: 'ftp://minio'
}

t.test('a wrong value in every variable ends a service with 1 and a message that names each', async t => {
  for (const [service, { properties }] of services) {
    const wrong = Object.entries(properties).map(([name, variable]) =>
      name in wrongLists ? [name, wrongLists[name]!] : wrongValue(name, variable)
    )
    const { code, stderr } = await startOf(service, Object.fromEntries(wrong))
    t.equal(code, 1, service)
    for (const [name] of wrong) t.match(stderr, new RegExp(`^  ${name}: .`, 'm'), `${service}: ${name}`)
    t.match(stderr, new RegExp(`\\(${wrong.length} faults\\)`), `${service}: all at once, and nothing else`)
    t.notMatch(stderr, /\n {4}at /, 'no stack')
  }
})

t.test('numbers beyond their bounds are refused', async t => {
  const { 'comfy-service': service, 'comfy-balancer': balancer } = schemas
  for (const [name, { properties }] of [
    ['comfy-service', service],
    ['comfy-balancer', balancer]
  ] as const) {
    const bounded = Object.entries(properties).filter(([, { type }]) => type === 'integer')
    for (const bound of ['minimum', 'maximum'] as const) {
      const env = bounded.flatMap(([variable, limits]) => {
        const limit = limits[bound]
        return limit === undefined ? [] : [[variable, String(bound === 'minimum' ? limit - 1 : limit + 1)] as const]
      })
      const { code, stderr } = await startOf(name, Object.fromEntries(env))
      t.equal(code, 1)
      for (const [variable] of env) t.match(stderr, new RegExp(`^  ${variable}: must be`, 'm'), `${variable} ${bound}`)
    }
  }
})

t.test('combinations that are unsafe or contradict each other are refused at start', async t => {
  const unsafe: [service: string, env: Record<string, string>, named: RegExp][] = [
    ['comfy-balancer', { HOST: '0.0.0.0' }, /AUTH_MODE: must be set because HOST/],
    ['comfy-balancer', { METRICS_PORT: '8080' }, /METRICS_PORT: must differ from PORT/],
    [
      'comfy-balancer',
      { REDIS_URL: 'redis://h', REDIS_PASSWORD: 'x' },
      /REDIS_PASSWORD: is set together with REDIS_URL/
    ],
    ['comfy-balancer', { OUTPUT_STORE: 's3' }, /S3_BUCKET: must be set/],
    ['comfy-balancer', { S3_ACCESS_KEY: 'x' }, /S3_SECRET_KEY: must be set/],
    ['comfy-service', { HEARTBEAT_MS: '3000' }, /LEASE_MS: .*\n {2}NODE_ALIVE_MS: must be at least twice/]
  ]
  for (const [service, env, named] of unsafe) {
    const { code, stderr } = await startOf(service, env)
    t.equal(code, 1)
    t.match(stderr, named)
  }
})

const redisServer = findOnPath('redis-server')
const withRedis = { skip: redisServer ? false : 'redis-server is not installed' }
const password = 'PAssWord!@123#%/?: "'

/** A Redis with our users and this password, started as the production compose file starts it. */
const startRedis = async (t: Test) => {
  const folder = t.testdir({ password: `${password}\n`, data: {} })
  const port = await freePort()
  const redis = await startProcess({
    name: 'redis',
    command: join(root, 'deploy/redis/start.sh'),
    args: [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', join(folder, 'data')],
      ...['--save', '', '--appendonly', 'yes', '--maxmemory-policy', 'noeviction', '--databases', '16']
    ],
    env: { REDIS_PASSWORD_FILE: join(folder, 'password'), REDIS_USERS_FILE: join(folder, 'users.acl') },
    logFile: join(folder, 'redis.log'),
    readyWhen: line => line.includes('Ready to accept connections') || undefined
  })
  t.teardown(() => redis.stop())
  return { port, folder }
}

const startBalancer = (t: Test, folder: string, env: Record<string, string>) => {
  mkdirSync(join(folder, 'outputs'), { recursive: true })
  const started = startProcess({
    name: 'balancer',
    command: process.execPath,
    args: [join(root, 'services/comfy-balancer/dist/src/main.js')],
    env: {
      REDIS_URL: undefined,
      PORT: '0',
      METRICS_PORT: '0',
      OUTPUT_STORE: `folder:${join(folder, 'outputs')}`,
      ...env
    },
    logFile: join(folder, `balancer-${Object.keys(env).join('-')}.log`),
    readyWhen: line => /"url":"([^"]+)".*"msg":"listening"/.exec(line)?.[1]
  })
  t.teardown(async () => (await started.catch(() => undefined))?.stop(3_000))
  return started
}

t.test('a password with every awkward character opens Redis, from a variable, a file or a URL', withRedis, async t => {
  const { port, folder } = await startRedis(t)
  const where = { REDIS_HOST: '127.0.0.1', REDIS_PORT: String(port), REDIS_USERNAME: 'comfy' }
  const url = `redis://comfy:${encodeURIComponent(password)}@127.0.0.1:${port}/0`
  writeFileSync(join(folder, 'url'), url)
  const ways: Record<string, string>[] = [
    { ...where, REDIS_PASSWORD: password },
    { ...where, REDIS_PASSWORD_FILE: join(folder, 'password') },
    { REDIS_URL: url },
    { REDIS_URL_FILE: join(folder, 'url') }
  ]
  for (const env of ways) {
    const balancer = await startBalancer(t, folder, env)
    const ready = await fetch(`${balancer.ready}/readyz`)
    t.equal(ready.status, 200, Object.keys(env).join(' '))
    t.equal((await fetch(`${balancer.ready}/api/v1/fleet`)).status, 200, 'the scripts of the ledger may run')
    t.notMatch(readFileSync(balancer.logFile, 'utf8'), /PAssWord/, 'and is not in the log')
    t.notMatch(readFileSync(balancer.logFile, 'utf8'), /NOPERM/)
    await balancer.stop(3_000)
  }
  const refused = await startOf('comfy-balancer', { ...where, REDIS_PASSWORD: 'wrong', PORT: '0', METRICS_PORT: '0' })
  t.equal(refused.code, 1)
  t.match(refused.stderr, /WRONGPASS/)
})

t.test('the users file keeps the ledger to its prefix and away from the server', withRedis, async t => {
  const { port } = await startRedis(t)
  const redis = new Redis({ port, host: '127.0.0.1', username: 'comfy', password })
  t.teardown(() => redis.disconnect())
  t.equal(await redis.set('{cb}:x', '1'), 'OK')
  for (const forbidden of [
    () => redis.set('other', '1'),
    () => redis.flushall(),
    () => redis.config('GET', 'dir'),
    () => redis.keys('*'),
    () => redis.acl('LIST'),
    () => redis.subscribe('elsewhere')
  ])
    await t.rejects(forbidden(), /NOPERM/)
  const nobody = new Redis({ port, host: '127.0.0.1', retryStrategy: () => null, lazyConnect: true })
  t.teardown(() => nobody.disconnect())
  nobody.on('error', () => {})
  await t.rejects(nobody.connect().then(() => nobody.get('{cb}:x')))
})

t.test('a database number and a key prefix of its own keep a ledger apart', withRedis, async t => {
  const folder = t.testdir({ data: {} })
  const port = await freePort()
  const server = await startProcess({
    name: 'redis',
    command: redisServer!,
    args: [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      join(folder, 'data'),
      '--maxmemory-policy',
      'noeviction'
    ],
    logFile: join(folder, 'redis.log'),
    readyWhen: line => line.includes('Ready to accept connections') || undefined
  })
  t.teardown(() => server.stop())
  const env = { REDIS_HOST: '127.0.0.1', REDIS_PORT: String(port), REDIS_DB: '7', REDIS_KEY_PREFIX: '{mine}:' }
  await startBalancer(t, folder, env)
  const redis = new Redis({ port, host: '127.0.0.1', db: 7 })
  t.teardown(() => redis.disconnect())
  t.ok((await redis.keys('{mine}:*')).length > 0)
  t.same(
    (await redis.keys('*')).filter(key => !key.startsWith('{mine}:')),
    []
  )
  t.equal(await redis.select(0).then(() => redis.dbsize()), 0)
})
