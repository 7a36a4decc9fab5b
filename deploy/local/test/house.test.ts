import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { root } from '../src/root.ts'

type Planted = { readonly file: string; readonly imports: string; readonly allowed: boolean }

const plant = (allowed: boolean, ...pairs: [from: string, imports: string][]): Planted[] =>
  pairs.map(([from, imports], index) => ({ file: `${from}/src/planted-${allowed}-${index}.ts`, imports, allowed }))

const planted = [
  ...plant(
    false,
    ['packages/domain', '@comfy-balancer/task-store/keys'],
    ['packages/domain', 'node:fs'],
    ['packages/comfyui', '@comfy-balancer/storage/folder'],
    ['packages/contract', '@comfy-balancer/domain/workflow'],
    ['packages/task-store', '@comfy-balancer/comfyui/client'],
    ['packages/dispatch', '@comfy-balancer/comfyui/client'],
    ['packages/task-api', '@comfy-balancer/dispatch/dispatcher'],
    ['packages/webhooks', '@comfy-balancer/task-api/task-view'],
    ['packages/client', '@comfy-balancer/domain/workflow'],
    ['packages/dashboard', '@comfy-balancer/client/client'],
    ['packages/task-api', '@comfy-balancer/dashboard/page-folder'],
    ['services/comfy-service', '@comfy-balancer/dashboard/page-folder'],
    ['services/comfy-service', 'comfy-balancer/app'],
    ['services/comfy-balancer', 'comfy-service/app'],
    ['services/comfy-service', '@comfy-balancer/comfyui-simulator/main']
  ),
  ...plant(
    true,
    ['packages/domain', '@comfy-balancer/contract/task'],
    ['packages/task-store', '@comfy-balancer/domain/workflow'],
    ['packages/task-store', 'node:fs'],
    ['packages/dispatch', '@comfy-balancer/task-store/keys'],
    ['packages/client', '@comfy-balancer/contract/task'],
    ['packages/webhooks', '@comfy-balancer/task-store/deliveries'],
    ['services/comfy-service', '@comfy-balancer/dispatch/dispatcher'],
    ['services/comfy-service', '@comfy-balancer/webhooks/webhooks'],
    ['services/comfy-balancer', '@comfy-balancer/task-api/plugin'],
    ['services/comfy-balancer', '@comfy-balancer/dashboard/page-folder'],
    ['packages/dashboard', '@comfy-balancer/contract/task'],
    ['deploy/local', '@comfy-balancer/client/client']
  )
]

type Diagnostic = {
  readonly category: string
  readonly location: { readonly path: string | { readonly file: string } }
}

const refusedFiles = (report: string): Set<string> => {
  const { diagnostics }: { diagnostics: Diagnostic[] } = JSON.parse(report)
  const breaches = diagnostics.filter(({ category }) => category === 'lint/style/noRestrictedImports')
  return new Set(breaches.map(({ location: { path } }) => (typeof path === 'string' ? path : path.file)))
}

t.test('an import against the arrows of the architecture fails the linter, and one along them does not', async t => {
  const house = t.testdir({})
  const config = JSON.parse(readFileSync(join(root, 'biome.json'), 'utf8'))
  writeFileSync(join(house, 'biome.json'), JSON.stringify({ ...config, root: true, vcs: { enabled: false } }))
  for (const { file, imports } of planted) {
    mkdirSync(dirname(join(house, file)), { recursive: true })
    writeFileSync(join(house, file), `import type { x } from '${imports}'\n\nexport type X = typeof x\n`)
  }
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome')
  const args = [biome, 'lint', '--reporter=json', '--max-diagnostics=none']
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: house, encoding: 'utf8' })
  t.equal(status, 1, stderr)
  const refused = refusedFiles(stdout)
  for (const { file, imports, allowed } of planted) {
    t.equal(refused.has(file), !allowed, `${file} importing ${imports} is ${allowed ? 'allowed' : 'refused'}`)
  }
})
