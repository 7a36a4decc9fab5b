import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Log, LogLine } from '@comfy-balancer/service-kit/log'
import t, { type Test } from 'tap'
import { HostFigures } from '../../src/gpu/host-figures.ts'
import { parseNvidiaSmi } from '../../src/gpu/nvidia-smi.ts'
import { createSampler, type SamplerOptions } from '../../src/gpu/sampler.ts'

const mebibyte = 1_048_576
const h100 = '0, GPU-aaaa, NVIDIA H100 80GB HBM3, 37, 1024, 81559, 45, 312.55'
const idle = '1, GPU-bbbb, NVIDIA H100 80GB HBM3, 0, 0, 81559, 30, 70.00'

const until = async (condition: () => boolean, limitMs = 20_000): Promise<void> => {
  const startedAtMs = performance.now()
  while (!condition()) {
    if (performance.now() - startedAtMs > limitMs) throw new Error(`not so within ${limitMs} ms: ${condition}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

const aFolder = (t: Test): string => {
  const folder = mkdtempSync(join(tmpdir(), 'gpu-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Puts a shell script on the PATH, before whatever else is there. */
const onPath = (t: Test, name: string, body: string): { path: string; becomes(body: string): void } => {
  const folder = aFolder(t)
  const path = join(folder, name)
  const before = process.env.PATH
  process.env.PATH = `${folder}:${before}`
  t.teardown(() => {
    process.env.PATH = before
  })
  const becomes = (text: string): void => {
    writeFileSync(`${path}.new`, `#!/bin/sh\n${text}\n`)
    chmodSync(`${path}.new`, 0o755)
    renameSync(`${path}.new`, path)
  }
  becomes(body)
  return { path, becomes }
}

const aSampler = (t: Test, more: Partial<SamplerOptions> = {}) => {
  const lines: { level: string; fields: object; message: string }[] = []
  const at =
    (level: string): LogLine =>
    (fields, message) =>
      void lines.push({ level, fields, message })
  const logger: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), fatal: at('fatal') }
  const sampler = createSampler({ intervalMs: 20, logger, nvidiaSmiTimeoutMs: 2000, watchdogMs: 10_000, ...more })
  t.teardown(() => sampler.close())
  return { sampler, messages: () => lines.map(line => `${line.level}: ${line.message}`), lines }
}

t.test('a table of nvidia-smi is read in bytes and shares, absent figures are null and zero stays zero', async t => {
  const absent =
    '2, [N/A], NVIDIA A30, with comma, [N/A], [Not Supported], 24576, [GPU requires reset], [Unknown Error]'
  const [busy, quiet, unknown] = parseNvidiaSmi(`${h100}\n${idle}\n${absent}\n`)
  t.same(busy, {
    index: 0,
    uuid: 'GPU-aaaa',
    name: 'NVIDIA H100 80GB HBM3',
    utilization: 0.37,
    vramTotalBytes: 81559 * mebibyte,
    vramUsedBytes: 1024 * mebibyte,
    temperatureCelsius: 45,
    powerWatts: 312.55
  })
  t.match(quiet, { utilization: 0, vramUsedBytes: 0 })
  t.same(unknown, {
    index: 2,
    uuid: null,
    name: 'NVIDIA A30, with comma',
    utilization: null,
    vramTotalBytes: 24576 * mebibyte,
    vramUsedBytes: null,
    temperatureCelsius: null,
    powerWatts: null
  })
  for (const text of ['', '\n', 'garbage', '0, GPU-a, x, y, z, 1, 2, 3', ', , , , , , ,']) {
    await t.rejects(async () => parseNvidiaSmi(text), { message: /unreadable/ })
  }
})

t.test('the GPUs and the load of this machine are measured', async t => {
  onPath(t, 'nvidia-smi', `echo '${h100}'; echo '${idle}'`)
  const { sampler, lines } = aSampler(t)
  t.match(sampler.latest(), { gpus: [], measuredAtMs: 0, stale: true, host: { cpuUtilization: null } })
  await until(() => !sampler.latest().stale && sampler.latest().host.cpuUtilization !== null)
  const { gpus, host, measuredAtMs } = sampler.latest()
  t.same(
    gpus.map(gpu => gpu.uuid),
    ['GPU-aaaa', 'GPU-bbbb']
  )
  t.ok(Date.now() - measuredAtMs < 5000)
  t.ok(host.cpuUtilization !== null && host.cpuUtilization >= 0 && host.cpuUtilization <= 1)
  t.ok(Number(host.memoryUsedBytes) > 0 && Number(host.memoryUsedBytes) < Number(host.memoryTotalBytes))
  t.same(lines, [])
})

t.test('a node takes the GPU it is told to, by index or by UUID', async t => {
  onPath(t, 'nvidia-smi', `echo '${h100}'; echo '${idle}'`)
  const byIndex = aSampler(t, { gpuIndex: 1 })
  const byUuid = aSampler(t, { gpuUuid: 'GPU-aaaa' })
  const neither = aSampler(t, { gpuUuid: 'GPU-cccc' })
  await until(() => [byIndex, byUuid].every(({ sampler }) => sampler.latest().gpus.length === 1))
  t.equal(byIndex.sampler.latest().gpus[0]?.uuid, 'GPU-bbbb')
  t.equal(byUuid.sampler.latest().gpus[0]?.uuid, 'GPU-aaaa')
  await until(() => neither.messages().length > 0)
  t.same(neither.messages(), ['warn: the chosen GPU is not in this machine'])
})

t.test('a failing nvidia-smi leaves the last figures, which become stale, and recovers', async t => {
  const smi = onPath(t, 'nvidia-smi', `echo '${h100}'`)
  const { sampler, messages } = aSampler(t, { nvidiaSmiTimeoutMs: 500 })
  await until(() => !sampler.latest().stale)
  smi.becomes('exec sleep 60')
  await until(() => messages().length === 1)
  await until(() => sampler.latest().stale)
  t.equal(sampler.latest().gpus.length, 1)
  smi.becomes(`echo '${idle}'`)
  await until(() => sampler.latest().gpus[0]?.uuid === 'GPU-bbbb' && !sampler.latest().stale)
  smi.becomes('echo something else')
  await until(() => messages().length === 3)
  smi.becomes('echo "NVIDIA-SMI has failed because it could not communicate"; exit 9')
  await until(() => messages().length === 4)
  t.same(messages(), [
    'warn: figures cannot be measured; the last ones stay',
    'info: figures are measured again',
    'warn: figures cannot be measured; the last ones stay',
    'warn: figures cannot be measured; the last ones stay'
  ])
})

t.test('a machine without GPU has none, and says so once', async t => {
  onPath(t, 'nvidia-smi', 'echo "No devices were found"; exit 6')
  const { sampler, messages } = aSampler(t)
  await until(() => !sampler.latest().stale && messages().length > 0)
  t.same(sampler.latest().gpus, [])
  t.same(messages(), ['info: no GPU found'])
})

t.test('where nvidia-smi is absent systeminformation is asked, and display chips do not count', async t => {
  const amd = '03:00.0 VGA compatible controller: Advanced Micro Devices, Inc. [AMD/ATI] Navi 31 (rev c8) (prog-if 00)'
  const region = '\tRegion 0: Memory at 7c00000000 (64-bit, prefetchable) [size=16384M]'
  const chip = '04:00.0 VGA compatible controller: ASPEED Technology, Inc. ASPEED Graphics Family (rev 41) (prog-if 00)'
  onPath(
    t,
    'lspci',
    `printf '%s\\n' '${amd}' '${region}' '' '${chip}' '\tRegion 0: Memory at 90000000 (32-bit) [size=64M]' ''`
  )
  const { sampler, messages } = aSampler(t, { nvidiaSmi: 'no-such-nvidia-smi' })
  await until(() => !sampler.latest().stale)
  t.equal(messages()[0], 'warn: nvidia-smi not found; GPU figures come from systeminformation')
  t.equal(sampler.latest().gpus.length, 1)
  t.match(sampler.latest().gpus[0], { name: /Navi 31/, utilization: null, vramUsedBytes: null })
})

t.test('a worker that hangs or dies is replaced after a pause and holds nothing up', async t => {
  const folder = aFolder(t)
  const worker = (body: string): URL => {
    const file = join(folder, `${body.length}.mjs`)
    writeFileSync(
      file,
      `import { parentPort } from 'node:worker_threads'\nparentPort.on('message', question => {${body}})`
    )
    return new URL(`file://${file}`)
  }
  const hanging = new HostFigures(worker('for (;;) {}'), 50)
  await t.rejects(hanging.ask('host'), { message: /no answer within 50 ms/ })
  t.equal(await hanging.ask('host'), undefined)
  const dying = new HostFigures(worker('throw new Error("gone")'), 5000)
  await t.rejects(dying.ask('host'), { message: /gone/ })
  const silent = new HostFigures(worker(''), 5000)
  const asked = silent.ask('host')
  const refused = t.rejects(asked, { message: /closed/ })
  silent.close()
  await refused
  const broken = new HostFigures(worker('parentPort.postMessage({ id: question.id, error: "no /proc" })'), 5000)
  t.teardown(() => broken.close())
  await t.rejects(broken.ask('host'), { message: /no \/proc/ })
  onPath(t, 'nvidia-smi', `echo '${h100}'`)
  const { sampler, messages } = aSampler(t, { hostWorker: worker('for (;;);'), watchdogMs: 50 })
  await until(() => sampler.latest().gpus.length === 1 && messages().length > 0)
  t.match(sampler.latest(), { stale: true, host: { cpuUtilization: null } })
})
