import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../src/port.ts'
import { type Process, startProcess } from '../src/processes.ts'
import { root } from '../src/root.ts'

export type Alert = { readonly labels: Record<string, string>; readonly state: string }

/** A Prometheus that runs our rules on these targets, by job, with an eye once a second and alerts that wait seconds instead of minutes. */
export const startPrometheus = async (
  command: string,
  folder: string,
  targets: Readonly<Record<string, readonly string[]>>
) => {
  mkdirSync(folder, { recursive: true })
  const rules = readFileSync(join(root, 'deploy/prometheus/rules/comfy.rules.yml'), 'utf8')
  writeFileSync(join(folder, 'rules.yml'), rules.replace(/^( +for:) \d+[mhd]$/gm, '$1 2s'))
  const jobs = Object.entries(targets).map(([job, addresses]) => ({
    job_name: job,
    static_configs: [{ targets: addresses }]
  }))
  const global = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' }
  const config = { global, rule_files: [join(folder, 'rules.yml')], scrape_configs: jobs }
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config))
  const address = `127.0.0.1:${await freePort()}`
  const process: Process = await startProcess({
    name: 'prometheus',
    command,
    args: [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=${address}`
    ],
    logFile: join(folder, 'prometheus.log'),
    readyWhen: line => line.includes('Server is ready to receive web requests') || undefined
  })
  const ask = async (path: string): Promise<{ status: string; error?: string; data: unknown }> =>
    JSON.parse(await (await fetch(`http://${address}/api/v1/${path}`, { signal: AbortSignal.timeout(10_000) })).text())
  return {
    stop: () => process.stop(),
    /** The value of an expression's first series; undefined when it has none. Throws when Prometheus refuses it. */
    value: async (expression: string): Promise<number | undefined> => {
      const { status, error, data } = await ask(`query?query=${encodeURIComponent(expression)}`)
      if (status !== 'success') throw new Error(`${error}: ${expression}`)
      const [first] = (data as { result: { value: [number, string] }[] }).result
      return first === undefined ? undefined : Number(first.value[1])
    },
    alerts: async (): Promise<readonly Alert[]> => ((await ask('alerts')).data as { alerts: Alert[] }).alerts
  }
}
