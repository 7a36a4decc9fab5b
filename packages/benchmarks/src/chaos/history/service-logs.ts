import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { PromptRun } from './recording.ts'

/** One line that a service logged. */
export type LogLine = {
  readonly program: string
  readonly time: number
  readonly level: number
  readonly msg: string
  readonly taskId?: string
  readonly answer?: string
  readonly attempt?: number
  readonly nodeId?: string
  readonly class?: string
  readonly reason?: string
}

type Line = Record<string, unknown>

const linesOf = (folder: string, name: string): Line[] =>
  readFileSync(join(folder, name), 'utf8')
    .split('\n')
    .flatMap(text => {
      try {
        const value: unknown = JSON.parse(text)
        return typeof value === 'object' && value !== null ? [value as Line] : []
      } catch {
        return []
      }
    })

const programOf = (file: string): string => file.replace(/(\.\d+)?\.log(\.1)?$/, '')

/** What services and balancers logged, in the order of their clocks; a skewed one is off. */
export const readServiceLogs = (folder: string): LogLine[] =>
  readdirSync(folder)
    .filter(name => /^(gpu|balancer)-/.test(name))
    .flatMap(name =>
      linesOf(folder, name).flatMap(line =>
        typeof line.msg === 'string' ? [{ ...(line as LogLine), program: programOf(name) }] : []
      )
    )
    .toSorted((a, b) => a.time - b.time)

/** What ran inside the simulators. */
export const readPrompts = (folder: string): PromptRun[] =>
  readdirSync(folder)
    .filter(name => name.startsWith('comfyui-'))
    .flatMap(name => promptsIn(programOf(name), linesOf(folder, name)))

const promptsIn = (comfyui: string, lines: readonly Line[]): PromptRun[] => {
  const ended = new Map(
    lines.flatMap(({ event, promptId, time }) => (event === 'ended' ? [[promptId, Number(time)]] : []))
  )
  return lines.flatMap(({ event, promptId, time }) =>
    event === 'started'
      ? [{ comfyui, promptId: String(promptId), startedMs: Number(time), endedMs: ended.get(promptId) }]
      : []
  )
}

/** Results, failures and returns that the ledger refused since another attempt had the task. */
export const staleRefusals = (log: readonly LogLine[]): readonly LogLine[] =>
  log.filter(({ answer }) => answer === 'stale')
