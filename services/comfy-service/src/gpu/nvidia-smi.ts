import { execFile } from 'node:child_process'
import type { Gpu } from '@comfy-balancer/contract/node'

/** A GPU with the index by which this machine counts it. */
export type IndexedGpu = Gpu & { readonly index: number }

const columns = 'index,uuid,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw'
const mebibyte = 1_048_576
const maxOutputBytes = 1_048_576

/**
 * Asks nvidia-smi, which is killed when it takes longer than `timeoutMs`. Rejects with `code: 'ENOENT'` when there is no such program,
 * and with a plain error when it fails or says something unreadable.
 */
export const readNvidiaSmi = (path: string, timeoutMs: number, signal: AbortSignal): Promise<IndexedGpu[]> =>
  new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, killSignal: 'SIGKILL', signal, maxBuffer: maxOutputBytes } as const
    execFile(path, [`--query-gpu=${columns}`, '--format=csv,noheader,nounits'], options, (error, stdout) => {
      if (error === null) return settle(() => parseNvidiaSmi(stdout), resolve, reject)
      if (/no devices were found/i.test(stdout)) return resolve([])
      if (error.code === 'ENOENT') return reject(error)
      if (error.killed) return reject(new Error(`nvidia-smi did not answer within ${timeoutMs} ms`))
      const firstLine = stdout.trim().split('\n', 1)[0]?.slice(0, 200)
      reject(new Error(`nvidia-smi failed (${error.code}): ${firstLine}`))
    })
  })

/** Reads nvidia-smi's table. What the card does not tell is null and 0 stays 0. Throws when it is empty or a line is not of the table. */
export const parseNvidiaSmi = (text: string): IndexedGpu[] => {
  const lines = text.split('\n').filter(line => line.trim() !== '')
  if (lines.length === 0) throw unreadable('nothing')
  return lines.map(parseLine)
}

const settle = <T>(work: () => T, resolve: (value: T) => void, reject: (error: unknown) => void): void => {
  try {
    resolve(work())
  } catch (error) {
    reject(error)
  }
}

const parseLine = (line: string): IndexedGpu => {
  const cells = line.split(',').map(cell => cell.trim())
  const [utilization, used, total, temperature, power] = cells.slice(-5).map(parseFigure)
  const index = Number(cells[0] || Number.NaN)
  if (cells.length < 8 || !Number.isInteger(index)) throw unreadable(line)
  return {
    index,
    uuid: isAbsent(cells[1]) ? null : (cells[1] ?? null),
    name: cells.slice(2, -5).join(', '),
    utilization: scaled(utilization, 1 / 100),
    vramTotalBytes: scaled(total, mebibyte),
    vramUsedBytes: scaled(used, mebibyte),
    temperatureCelsius: temperature ?? null,
    powerWatts: power ?? null
  }
}

const isAbsent = (cell: string | undefined): boolean =>
  cell === undefined || cell === '' || /^\[.*\]$|^N\/A$/.test(cell)

const parseFigure = (cell: string): number | null => {
  if (isAbsent(cell)) return null
  if (/^-?\d+(\.\d+)?$/.test(cell)) return Number(cell)
  throw unreadable(cell)
}

const scaled = (figure: number | null | undefined, factor: number): number | null =>
  figure === null || figure === undefined ? null : figure * factor

const unreadable = (text: string): Error => new Error(`nvidia-smi said something unreadable: ${text.slice(0, 100)}`)
