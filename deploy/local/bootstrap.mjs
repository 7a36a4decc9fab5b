// Runs before anything is installed: plain JavaScript, nothing but Node. `npm start` and every script of package.json come through here.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const leastNode = [20, 20, 2]
const local = name => `deploy/local/dist/src/${name}.js`
const programs = {
  start: local('start'),
  demo: local('demo'),
  test: local('test'),
  check: local('check'),
  keys: local('keys'),
  'rolling-restart': 'services/comfy-balancer/dist/src/rolling-restart/main.js',
  configuration: local('configuration'),
  bench: 'packages/benchmarks/dist/src/main.js',
  chaos: 'packages/benchmarks/dist/src/chaos/main.js',
  fuzz: 'packages/fuzz/dist/src/main.js',
  conformance: 'packages/comfyui-simulator/dist/src/conformance/main.js'
}

const say = line => process.stdout.write(`${line}\n`)

const fail = message => {
  say(message)
  process.exit(1)
}

const checkNode = () => {
  const have = process.versions.node.split('.').map(Number)
  const differs = leastNode.findIndex((part, index) => part !== have[index])
  if (differs === -1 || have[differs] > leastNode[differs]) return
  fail(
    `Node ${leastNode.join('.')} or later is needed; this is ${process.versions.node}. See https://nodejs.org/en/download`
  )
}

const run = (command, args, env = {}) =>
  new Promise(resolve => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    let output = ''
    const collect = chunk => {
      output += chunk
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.on('error', error => resolve({ code: 1, output: error.message }))
    child.on('close', code => resolve({ code: code ?? 1, output }))
  })

const step = async (name, command, args, env) => {
  const startedMs = performance.now()
  if (process.stdout.isTTY) process.stdout.write(`${name} …`)
  const { code, output } = await run(command, args, env)
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  say(process.stdout.isTTY ? ` ${seconds} s` : `${name}: ${seconds} s`)
  if (code !== 0) fail(`${output}\n${name} failed`)
}

const lockFile = join(root, 'pnpm-lock.yaml')
const installedFile = join(root, 'node_modules', '.cache', 'comfy-balancer', 'installed')
const lockDigest = () => createHash('sha256').update(readFileSync(lockFile)).digest('hex')

const isInstalled = () => {
  const pnpmsOwnCopy = join(root, 'node_modules', '.pnpm', 'lock.yaml')
  if (!existsSync(pnpmsOwnCopy)) return false
  if (readFileSync(pnpmsOwnCopy).equals(readFileSync(lockFile))) return true
  return existsSync(installedFile) && readFileSync(installedFile, 'utf8') === lockDigest()
}

const install = async () => {
  if (isInstalled()) return
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const args = ['--yes', packageManager, 'install', '--frozen-lockfile']
  await step('installing dependencies', 'npx', args, { CI: 'true' })
  mkdirSync(dirname(installedFile), { recursive: true })
  writeFileSync(installedFile, lockDigest())
}

const build = async () => {
  const startedMs = performance.now()
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const { code, output } = await run(process.execPath, [compiler, '-b', '--listEmittedFiles'])
  const emitted = output.split('\n').filter(line => line.startsWith('TSFILE:'))
  if (code !== 0) fail(`${output.replaceAll(/^TSFILE:.*\n/gm, '')}\nthe build failed`)
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  const scripts = emitted.filter(line => line.endsWith('.js')).length
  if (scripts > 0) say(`compiling ${scripts} files: ${seconds} s`)
}

const dashboard = join(root, 'packages', 'dashboard')
const pageIsBuilt = () => {
  const built = join(dashboard, 'dist', 'page', 'index.html')
  if (!existsSync(built)) return false
  const sources = readdirSync(join(dashboard, 'page')).map(name => join(dashboard, 'page', name))
  const inputs = [...sources, join(dashboard, 'vite.config.ts'), join(dashboard, 'package.json')]
  return inputs.every(file => statSync(file).mtimeMs < statSync(built).mtimeMs)
}

const buildPage = async () => {
  if (pageIsBuilt()) return
  const startedMs = performance.now()
  const vite = join(dashboard, 'node_modules', 'vite', 'bin', 'vite.js')
  const { code, output } = await run(process.execPath, [
    vite,
    'build',
    join(dashboard, 'page'),
    '--config',
    join(dashboard, 'vite.config.ts')
  ])
  if (code !== 0) fail(`${output}\nthe build of the dashboard failed`)
  say(`building the dashboard: ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
}

checkNode()
const [command, ...rest] = process.argv.slice(2)
if (command !== 'build' && !(command in programs))
  fail(
    'use: npm start | npm test | npm run demo | check | build | keys | rolling-restart | configuration | bench | chaos | fuzz | conformance'
  )
await install()
await build()
await buildPage()
if (command in programs) {
  const program = join(root, programs[command])
  process.argv.splice(1, process.argv.length, program, ...rest)
  await import(new URL(`file://${program}`).href)
}
