import { useLayoutEffect, useRef } from "preact/hooks";

interface LocalPictureProps {
  readonly track: MediaStreamTrack;
  readonly label: string;
}

/** A picture of one's own: straight from the camera, as in a mirror. */
export function LocalPicture({ track, label }: LocalPictureProps) {
  const ref = useRef<HTMLVideoElement>(null);
  useLayoutEffect(() => {
    const video = ref.current;
    if (!video) return;
    video.srcObject = new MediaStream([track]);
    // Rejects when the element goes away before it has begun.
    void video.play().catch(() => undefined);
    return () => {
      video.srcObject = null;
    };
  }, [track]);
  return <video ref={ref} class="picture mirrored" muted playsInline autoplay aria-label={label} />;
}

interface RemotePictureProps {
  readonly element: HTMLCanvasElement;
  /** All of it, with borders, in place of filling the tile. */
  readonly whole: boolean;
  readonly label: string;
}

/** A picture of somebody else: the canvas that the SDK draws on. */
export function RemotePicture({ element, whole, label }: RemotePictureProps) {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const parent = ref.current;
    if (!parent) return;
    element.classList.add("picture");
    element.setAttribute("role", "img");
    parent.append(element);
    return () => {
      if (element.parentElement === parent) element.remove();
    };
  }, [element]);
  useLayoutEffect(() => {
    element.classList.toggle("whole", whole);
    element.setAttribute("aria-label", label);
  }, [element, whole, label]);
  return <div class="picture-holder" ref={ref} />;
}
