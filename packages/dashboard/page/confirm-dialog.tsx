import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'

type Props = {
  readonly title: string
  readonly action: string
  readonly children: ComponentChildren
  readonly run: () => Promise<void>
  readonly onClose: () => void
}

/** Asks before something is done, does it, and says so when it could not be done. */
export const ConfirmDialog = ({ title, action, children, run, onClose }: Props) => {
  const dialog = useRef<HTMLDialogElement>(null)
  const [error, setError] = useState('')
  const [isBusy, setBusy] = useState(false)
  useEffect(() => dialog.current?.showModal(), [])
  const confirm = async (): Promise<void> => {
    setBusy(true)
    try {
      await run()
      dialog.current?.close()
    } catch (cause) {
      setError(cause instanceof Error ? cause.message : String(cause))
      setBusy(false)
    }
  }
  return (
    <dialog ref={dialog} aria-labelledby="dialog-title" onClose={onClose}>
      <h2 id="dialog-title" class="dialog-title">
        {title}
      </h2>
      <p>{children}</p>
      {error && (
        <p class="bad-text" role="alert">
          {error}
        </p>
      )}
      <div class="dialog-actions">
        <button type="button" onClick={() => dialog.current?.close()}>
          Not now
        </button>
        <button type="button" class="primary" disabled={isBusy} onClick={confirm}>
          {action}
        </button>
      </div>
    </dialog>
  )
}
