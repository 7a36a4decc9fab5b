import type { DeviationName } from './faults/deviation.ts'
import type { FaultName } from './faults/fault.ts'
import type { FolderOptions } from './files/folders.ts'

/** What the worker does with a prompt. */
export type PromptMoment = 'started' | 'ended'

/** How a simulated ComfyUI is set up; every field has a default. */
export interface SimulatorOptions extends FolderOptions {
  /** The port; 0 (the default) takes a free one. */
  port?: number
  host?: string
  name?: string
  /** VRAM in 10^9 bytes, 24 by default. */
  vramGb?: number
  /** How fast the GPU is; 1 is ordinary. */
  speed?: number
  /** How long a simulated second lasts; 0.01 is a hundred times as fast. */
  timeScale?: number
  /** Model load speed in 10^9 bytes per simulated second, 1 by default. */
  loadGbps?: number
  /** Model files by folder: name to size in bytes. Given, they replace the default ones. */
  models?: Record<string, Record<string, number>>
  /** A folder whose model files on disk, by folder, count beside them. */
  modelsDir?: string
  /** Folders with API-format workflows to learn classes and file names from. */
  learnDirs?: string[]
  /** Makes everything by chance repeatable. */
  seed?: number
  /** How likely faults are, from 0 to 1, by name. */
  faultRates?: Partial<Record<FaultName, number>>
  /** Whether samplers send a picture per step, as ComfyUI does with `--preview-method auto`. On by default. */
  hasPreviews?: boolean
  maxUploadMb?: number
  corsOrigin?: string
  /** Node classes that are missing, as when a package is not installed. */
  missingClasses?: string[]
  /** A wrong behaviour for proving that the conformance notices it; nothing else uses it. */
  deviation?: DeviationName
  /** Told when the worker begins with a prompt and when it is done with it. */
  onPrompt?: (moment: PromptMoment, promptId: string) => void
  /** Called when the process would die; by default the simulator closes with every connection cut. */
  onCrash?: () => void
}
