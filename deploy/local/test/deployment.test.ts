import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { freePort } from '../src/port.ts'
import { startProcess } from '../src/processes.ts'
import { root } from '../src/root.ts'
import { findS3Server } from '../src/s3-server.ts'

type Service = {
  readonly image?: string
  readonly build?: { readonly context: string; readonly dockerfile?: string }
  readonly environment?: Record<string, string>
  readonly ports?: string[]
  readonly volumes?: string[]
  readonly networks?: string[]
  readonly command?: string[]
  readonly depends_on?: Record<string, { condition: string }>
  readonly profiles?: string[]
  readonly read_only?: boolean
  readonly cap_drop?: string[]
  readonly security_opt?: string[]
  readonly init?: boolean
  readonly mem_limit?: string
  readonly restart?: string
  readonly healthcheck?: { readonly test: string[] }
  readonly deploy?: { readonly resources: { readonly reservations: { readonly devices: object[] } } }
}
type Compose = {
  services: Record<string, Service>
  networks: Record<string, unknown>
  volumes: Record<string, unknown>
}

const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const compose: Compose = parse(read('docker-compose.yml'), { merge: true })
const services = Object.entries(compose.services)
const isComfyUi = ([name]: readonly [string, ...unknown[]]): boolean => name.startsWith('comfyui-gpu-')
/** A value as compose reads it where no variable is set. */
const byDefault = (text: string): string => text.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1')
const dockerfileOf = ({ build }: Service): string | undefined =>
  build && join(build.context, build.dockerfile ?? 'Dockerfile')

t.test('compose publishes on this machine only and needs no .env', async t => {
  const ports = services.flatMap(([, { ports = [] }]) => ports)
  t.same(
    ports.filter(port => !/^127\.0\.0\.1:\d+:\d+$/.test(port)),
    []
  )
  t.equal(new Set(ports.map(port => port.split(':')[1])).size, ports.length, 'no port is published twice')
  t.same(
    read('docker-compose.yml').match(/\$\{[A-Z0-9_]+(?!:-|[A-Z0-9_])[^}]*\}/g),
    null,
    'every variable has a default'
  )
})

t.test('everything that compose refers to exists', async t => {
  for (const [name, service] of services) {
    const dockerfile = dockerfileOf(service)
    if (service.build) t.ok(statSync(join(root, service.build.context)).isDirectory(), `${name} has a build context`)
    if (dockerfile) t.ok(existsSync(join(root, dockerfile)), `${name} has ${dockerfile}`)
    for (const volume of service.volumes ?? []) {
      const source = volume.startsWith('./') ? volume.split(':')[0] : undefined
      if (source) t.ok(existsSync(join(root, source)), `${name} mounts ${source}`)
      else t.ok(volume.startsWith('${') || (volume.split(':')[0] ?? '') in compose.volumes, `${name} mounts ${volume}`)
    }
    for (const network of service.networks ?? []) t.ok(network in compose.networks, `${name} is in ${network}`)
    for (const other of Object.keys(service.depends_on ?? {})) t.ok(other in compose.services, `${name} needs ${other}`)
    for (const host of hostsIn(service)) t.ok(canReach(service, host), `${name} reaches ${host}`)
  }
})

/** The other containers that a service's environment names. */
const hostsIn = ({ environment = {} }: Service): string[] =>
  Object.values(environment)
    .map(byDefault)
    .map(value => /^\w+:\/\/([a-z][a-z0-9-]*):\d+$/.exec(value)?.[1] ?? (value in compose.services ? value : undefined))
    .filter(host => host !== undefined)

const canReach = ({ networks = [] }: Service, host: string): boolean =>
  (compose.services[host]?.networks ?? []).some(network => networks.includes(network))

t.test('every container of ours is hardened and comes back', async t => {
  for (const [name, service] of services.filter(one => !isComfyUi(one))) {
    t.match(
      service,
      {
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        init: true,
        mem_limit: String,
        restart: 'unless-stopped'
      },
      name
    )
  }
  const redis = compose.services.redis?.command?.join(' ') ?? ''
  t.match(redis, /--appendonly yes .*--maxmemory-policy noeviction/)
})

t.test('every image is built in stages, is not root, says whether it is well, and is of one version', async t => {
  const files = readdirSync(join(root, 'docker')).map(name => join('docker', name, 'Dockerfile'))
  t.same(new Set(services.flatMap(([, service]) => dockerfileOf(service) ?? [])), new Set(files), 'all are in compose')
  for (const file of files) {
    const text = read(file)
    t.match(text, /^FROM \S+ AS build$[\s\S]*^FROM (?!.* AS )/m, `${file} leaves its tools behind`)
    const last = text.slice(text.lastIndexOf('\nFROM '))
    t.match(last, /^USER (?!root|0)/m, `${file} is not root`)
    t.match(last, /^HEALTHCHECK /m, `${file} has a health check`)
    for (const [, image] of text.matchAll(/^ARG \w+_IMAGE=(.*)$/gm))
      t.match(image, /^(node:24-slim|(golang|alpine):\d+\.\d+.*)$/, `${file}: ${image}`)
  }
})

t.test('each ComfyUI has one GPU and one comfy-service, and nobody else reaches it', async t => {
  const found = services.filter(isComfyUi)
  t.same(found.map(([name, { profiles }]) => [name, profiles]).toSorted(), [
    ['comfyui-gpu-0', ['gpu']],
    ['comfyui-gpu-0b', ['gpu-0b']],
    ['comfyui-gpu-1', ['gpu-1']]
  ])
  for (const [name, { networks, deploy, healthcheck, volumes = [], ports, profiles }] of found) {
    const owner = name.replace('comfyui-', 'comfy-service-')
    const neighbours = services.filter(([, { networks: theirs = [] }]) => theirs.some(one => networks?.includes(one)))
    t.same(neighbours.map(([one]) => one).toSorted(), [owner, name])
    t.match(compose.services[owner], { profiles, deploy, environment: { COMFYUI_URL: `http://${name}:8188` } })
    t.match(deploy?.resources.reservations.devices, [{ driver: 'nvidia', device_ids: [String], capabilities: ['gpu'] }])
    t.match(healthcheck?.test.join(' '), '/system_stats')
    t.notOk(ports, 'ComfyUI has no authentication')
    const kept = volumes.map(volume => byDefault(volume).split(':')[1]!.split('/').at(-1))
    t.same(new Set(kept), new Set(['models', 'user', 'input', 'output', 'temp']), `${name} keeps what ComfyUI writes`)
  }
  const own = found.flatMap(([, { volumes = [] }]) => volumes.filter(volume => !volume.startsWith('${COMFYUI_MODELS')))
  t.equal(new Set(own.map(volume => volume.split(':')[0])).size, own.length, 'they share nothing but models')
})

t.test('Prometheus asks every comfy-service of every profile', async t => {
  type Job = { job_name: string; dns_sd_configs?: { names: string[]; port: number }[] }
  const { scrape_configs: jobs }: { scrape_configs: Job[] } = parse(read('deploy/prometheus/prometheus.yml'))
  const [discovery] = jobs.find(({ job_name }) => job_name === 'comfy-service')?.dns_sd_configs ?? []
  const names = services.map(([name]) => name).filter(name => name.startsWith('comfy-service-'))
  t.same(new Set(discovery?.names), new Set(names))
  t.equal(discovery?.port, 9464)
})

const s3Server = findS3Server()
const withS3 = { skip: s3Server ? false : 'there is no S3 server: install versitygw, or Go and run `npm test`' }
t.test('the S3 server of the profile s3 starts with the bucket that services are told', withS3, async t => {
  const { environment = {}, ports } = compose.services.s3!
  const env = Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, byDefault(value)]))
  const told = compose.services['comfy-balancer']?.environment ?? {}
  t.match(byDefault(told.S3_PUBLIC_ENDPOINT!), ports![0]!.split(':').slice(0, 2).join(':'))
  for (const [theirs, ours] of [
    ['ROOT_ACCESS_KEY', 'S3_ACCESS_KEY'],
    ['ROOT_SECRET_KEY', 'S3_SECRET_KEY']
  ] as const)
    t.equal(environment[theirs], told[ours])
  const folder = t.testdir()
  const port = await freePort()
  const options: string[] = JSON.parse(/^CMD (\[.*\])$/m.exec(read('docker/s3/Dockerfile'))?.[1] ?? '[]')
  const server = await startProcess({
    name: 's3',
    command: join(root, 'docker/s3/start.sh'),
    args: options.filter(option => option !== '--quiet').map(option => option.replace(':7070', `127.0.0.1:${port}`)),
    env: { ...env, DATA_DIR: folder, PATH: `${dirname(s3Server!)}${delimiter}${process.env.PATH}` },
    logFile: join(folder, 's3.log'),
    readyWhen: line => line.includes(`http://127.0.0.1:${port}`) || undefined
  })
  t.teardown(() => server.stop())
  const health = /http:\S*(\/\w+)"\]$/m.exec(read('docker/s3/Dockerfile'))?.[1]
  t.equal((await fetch(`http://127.0.0.1:${port}${health}`)).status, 200)
  t.ok(existsSync(join(folder, 'buckets', env.S3_BUCKET!)))
  t.equal((await fetch(`http://127.0.0.1:${port}/${env.S3_BUCKET}`)).status, 403, 'and asks who one is')
})

type Overlaid = Service & { readonly secrets?: string[]; readonly user?: string }
type Overlay = { services: Record<string, Overlaid>; secrets: Record<string, { file: string }> }

/** Tags of compose: what is reset or overridden takes the place of what the first file says. */
const tags = ['!reset', '!override'].flatMap(tag => [
  { tag, collection: 'seq' as const },
  { tag, collection: 'map' as const }
])

t.test('the production overlay asks for keys and passwords and publishes the balancer alone', async t => {
  const text = read('deploy/compose.production.yml')
  const overlay: Overlay = parse(text, { customTags: tags as never })
  for (const name of Object.keys(overlay.services)) t.ok(name in compose.services, `${name} is in docker-compose.yml`)
  for (const [name, { ports = [] }] of services) {
    const replaced = overlay.services[name]?.ports
    if (name === 'comfy-balancer') t.match(replaced, [/^\$\{BALANCER_ADDRESS:-127\.0\.0\.1\}:8080:8080$/])
    else t.same(replaced ?? ports, [], `${name} is not published`)
  }
  const ours = services.filter(([, { build }]) => /comfy-(balancer|service)\//.test(build?.dockerfile ?? ''))
  for (const [name, { environment }] of ours) {
    const { environment: more, secrets } = overlay.services[name] ?? {}
    const wanted = { AUTH_MODE: 'keys', REDIS_URL: '', REDIS_PASSWORD_FILE: '/run/secrets/redis_password' }
    t.match({ ...environment, ...more }, wanted, name)
    t.same(secrets, ['redis_password'], name)
  }
  const { redis, logdy } = overlay.services
  t.match(redis, { command: ['/etc/redis/start.sh', '--appendonly'], secrets: ['redis_password'] })
  t.match(logdy, { user: '65534:65534', networks: ['logs'], environment: { LOGDY_UI_PASS: /^\$\{LOGDY_UI_PASS:\?/ } })
  for (const { file } of Object.values(overlay.secrets)) t.match(file, /^\$\{SECRETS_DIR:\?/, 'no secret has a default')
  for (const [name, { profiles = [] }] of services.filter(([name]) => name.startsWith('simulator-')))
    t.same([profiles, overlay.services[name]?.profiles], [[], ['simulated']], `${name} stays away`)
})

t.test('images of others are of one version each', async t => {
  for (const [name, { image = '', build }] of services)
    if (!build && !isComfyUi([name])) t.match(image, /:v?\d+\.\d+/, name)
})

const projects = {
  'comfy-balancer': 'services/comfy-balancer',
  'comfy-service': 'services/comfy-service',
  'comfyui-simulator': 'packages/comfyui-simulator'
}

t.test('each image starts a file that the build makes', async t => {
  for (const [name, folder] of Object.entries(projects)) {
    const dockerfile = read(`docker/${name}/Dockerfile`)
    const command: string[] = JSON.parse(/^CMD (\[.*\])$/m.exec(dockerfile)?.[1] ?? '[]')
    t.equal(command[0], 'node')
    const script = command.find(part => part.endsWith('.js')) ?? ''
    t.equal(script, 'dist/src/main.js')
    t.ok(existsSync(join(root, folder, script.replace(/^dist\//, '').replace(/js$/, 'ts'))), `${folder}/${script}`)
    t.match(dockerfile, `tsc -b ${folder} `)
    const { packageManager } = JSON.parse(read('package.json'))
    t.match(dockerfile, packageManager, 'the pnpm of package.json')
  }
})

t.test('services get only variables that they know', async t => {
  for (const [name, { environment = {}, build }] of services) {
    const project = build?.dockerfile && projects[build.dockerfile.split('/')[1] as keyof typeof projects]
    const config = project && join(root, project, 'dist/src/config.js')
    if (!config || !existsSync(config)) continue
    const known = knownVariables(await import(config))
    const unknown = Object.keys(environment).filter(variable => !known.has(variable) && !variable.startsWith('NVIDIA_'))
    t.same(unknown, [], name)
  }
})

const knownVariables = (module: Record<string, unknown>): Set<string> =>
  new Set(
    Object.values(module).flatMap(value => {
      const properties = typeof value === 'object' && value !== null && 'properties' in value ? value.properties : {}
      return Object.keys(properties as object)
    })
  )

type Handler = { readonly id: string; readonly handlerTsCode: string }
type LogdyLine = {
  json_content?: unknown
  content: string
  is_json: boolean
  ts: number
  correlation_id?: string
  order_key?: number
  timing?: unknown
}

const aLine = (content: string): LogdyLine => {
  const line = { content, ts: 1_700_000_000_000, is_json: false }
  try {
    return { ...line, is_json: true, json_content: JSON.parse(content) }
  } catch {
    return line
  }
}

const oddLines = [
  ...['', 'plain text', 'null', '[]', '[1]', '123', '"text"', 'true', '{}', '{"err":null,"res":null,"time":"late"}'],
  ...[
    '{"level":{"a":1},"time":1e300,"taskId":7,"err":"text","res":5}',
    '{"msg":{"deep":[]},"durationMs":"3","time":-1}'
  ]
]

t.test('no handler of the logdy configuration throws, whatever the line', async t => {
  const config: { columns: Handler[]; settings: { middlewares: Handler[] } } = JSON.parse(
    read('deploy/logdy/logdy.config.json')
  )
  const compile = ({ handlerTsCode }: Handler): ((line: LogdyLine) => unknown) =>
    new Function(`return ${handlerTsCode}`)()
  for (const column of config.columns) {
    for (const content of oddLines) {
      const cell = compile(column)(aLine(content))
      t.match(cell, { text: String }, `${column.id} of ${content}`)
    }
  }
  for (const middleware of config.settings.middlewares) {
    for (const content of oddLines) t.match(compile(middleware)(aLine(content)), { content })
  }
  const record = { level: 50, time: 1_700_000_000_123, service: 'comfy-service', instance: 'gpu-a', nodeId: 'gpu-a' }
  const line = aLine(
    JSON.stringify({
      ...record,
      taskId: 'task_0123456789ab',
      errorSource: 'comfyui',
      err: { message: 'broke' },
      msg: 'attempt failed',
      durationMs: 20
    })
  )
  const cells = Object.fromEntries(config.columns.map(column => [column.id, compile(column)(line)]))
  t.match(cells, {
    time: { text: '22:13:20.123' },
    level: { text: 'error' },
    node: { text: 'gpu-a' },
    task: { text: '0123456789ab' },
    message: { text: 'attempt failed' },
    fault: { text: 'comfyui' },
    error: { text: 'broke' },
    duration: { text: '20' }
  })
  for (const middleware of config.settings.middlewares) compile(middleware)(line)
  t.match(line, { correlation_id: 'task_0123456789ab', order_key: record.time, timing: { duration: 20 } })
})
