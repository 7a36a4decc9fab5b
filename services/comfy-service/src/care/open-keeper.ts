import { foldPath } from '@comfy-balancer/domain/capability'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { ComfyUi } from '../comfyui.ts'
import type { ComfyUiFolders } from '../comfyui-folders.ts'
import { ComfyServiceConfig } from '../config.ts'
import type { Sampler } from '../gpu/sampler.ts'
import { gpusOf } from '../report.ts'
import type { Residency } from '../residency.ts'
import type { CareTally } from './care-tally.ts'
import type { ComfyUiCommand } from './comfyui-process.ts'
import { readCommand } from './command.ts'
import { Keeper, type KeeperOptions } from './keeper.ts'
import { createMemoryCare, type MemoryInUse } from './memory-care.ts'
import { readWarmUpFile, type WarmUp } from './warm-up.ts'

export type OpenKeeperDeps = {
  readonly node: string
  readonly ledger: Ledger
  readonly comfyui: ComfyUi
  readonly sampler: Sampler
  readonly residency: Residency
  readonly folders: ComfyUiFolders | undefined
  readonly tally: CareTally
  readonly log: Log
}

/** Makes the keeper that the configuration asks for; it does nothing until its node starts it. Throws a ConfigError for a warm-up that cannot be read. */
export const openKeeper = (config: ComfyServiceConfig, deps: OpenKeeperDeps): Keeper => {
  const { node, comfyui, sampler, residency, folders, tally, log } = deps
  const memory = createMemoryCare(
    {
      idleMs: config.COMFYUI_IDLE_SECONDS * 1_000,
      freeAboveVram: config.COMFYUI_FREE_ABOVE_VRAM,
      restartAboveVram: config.COMFYUI_RESTART_ABOVE_VRAM,
      restartAboveRam: config.COMFYUI_RESTART_ABOVE_RAM
    },
    {
      inUse: () => inUseOf(sampler, comfyui),
      isResidentWanted: () => isAnyWanted(deps.ledger, residency.models()),
      async free() {
        await comfyui.http.free()
        residency.clear()
        tally.freed()
        log.info({ nodeId: node }, 'idle comfyui asked to free its memory')
      }
    }
  )
  return new Keeper(optionsOf(config, node), { comfyui, residency, folders, memory, tally, log })
}

const optionsOf = (config: ComfyServiceConfig, node: string): KeeperOptions => ({
  node,
  url: config.COMFYUI_URL,
  command: commandOf(config),
  warmUp: warmUpOf(config),
  startMs: config.COMFYUI_START_SECONDS * 1_000,
  stopMs: config.COMFYUI_STOP_SECONDS * 1_000,
  silentMs: config.COMFYUI_SILENT_SECONDS * 1_000
})

const commandOf = ({ COMFYUI_COMMAND, COMFYUI_DIR }: ComfyServiceConfig): ComfyUiCommand | undefined => {
  const command = COMFYUI_COMMAND === undefined ? undefined : readCommand(COMFYUI_COMMAND)
  return command && { command, folder: COMFYUI_DIR, withheld }
}

const warmUpOf = (config: ComfyServiceConfig): WarmUp | undefined =>
  config.COMFYUI_WARM_UP === undefined
    ? undefined
    : {
        ...readWarmUpFile(config.COMFYUI_WARM_UP),
        timeoutMs: config.COMFYUI_WARM_UP_SECONDS * 1_000,
        silentMs: config.COMFYUI_SILENT_SECONDS * 1_000,
        cancelMs: config.COMFYUI_CANCEL_SECONDS * 1_000
      }

/** All that configures this service, its secrets above all, and what its own Node was told. */
const withheld: readonly string[] = [
  ...Object.keys(ComfyServiceConfig.properties).flatMap(name => [name, `${name}_FILE`]),
  'NODE_OPTIONS'
]

const inUseOf = (sampler: Sampler, comfyui: ComfyUi): MemoryInUse => {
  const { memoryTotalBytes, memoryUsedBytes } = sampler.latest().host
  const shares = gpusOf(sampler, comfyui).flatMap(gpu => shareOf(gpu.vramUsedBytes, gpu.vramTotalBytes) ?? [])
  return { vram: shares.length > 0 ? Math.max(...shares) : undefined, ram: shareOf(memoryUsedBytes, memoryTotalBytes) }
}

const shareOf = (used: number | null, total: number | null): number | undefined =>
  used === null || !total ? undefined : used / total

const isAnyWanted = async ({ waiting }: Ledger, resident: readonly string[]): Promise<boolean> => {
  if (resident.length === 0) return false
  const wanted = new Set(Object.keys(await waiting.byModel()).map(foldPath))
  return resident.some(model => wanted.has(foldPath(model)))
}
