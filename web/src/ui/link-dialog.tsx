import { useEffect, useRef } from 'preact/hooks';
import { linkToShow } from '../files/share';
import { useStore } from '../store';

/** Shows a link for copying by hand, where the browser keeps pages from the clipboard. */
export function LinkDialog() {
  const url = useStore(linkToShow);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (!url) return dialog.current?.close();
    dialog.current?.showModal();
    dialog.current?.querySelector('input')?.select();
  }, [url]);
  return (
    <dialog ref={dialog} class="card dialog" aria-labelledby="link-title" onClose={() => linkToShow.set(null)}>
      <h2 id="link-title">Copy this link</h2>
      <input class="field" readOnly aria-label="Link" value={url ?? ''} onFocus={(event) => event.currentTarget.select()} />
      <div class="row end">
        <button type="button" class="button primary" onClick={() => linkToShow.set(null)}>
          Close
        </button>
      </div>
    </dialog>
  );
}
